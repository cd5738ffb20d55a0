"""Random convolutions at several scales, which see textures without having learnt any."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmd_ddm.features.untrained.statistics import DEVIATIONS, LEVEL, Statistics, octaves, opponent

_WIDTHS = (32, 48, 64, 64)
_SIZES = (5, 3, 3, 3)
_CELLS, _PROJECTED = 2, 16
_SEED = 2017


class RandomConv(Statistics):
    """A network of two to four layers of random filters, each at half the resolution of the one before.

    Ustyuzhaninov et al. (2017), "What does it take to generate natural textures?": the co-activations of random
    filters of several sizes see textures nearly as those of a trained network do. Filters are Gaussian, of norm 1, and
    of mean zero but for the first of each layer. Of each layer: the means of its channels in 2 x 2 cells, and the Gram
    matrix of 16 random combinations of them, as signed square roots (Lin and Maji 2017), since products have long
    tails.
    """

    deviations: Tensor

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        channels, resolution, _ = image_shape
        self.layers = min(max(octaves(resolution) - 1, 2), len(_WIDTHS))
        gram = _PROJECTED * (_PROJECTED + 1) // 2
        super().__init__(tuple(width * _CELLS**2 + gram for width in _WIDTHS[: self.layers]))
        generator = torch.Generator().manual_seed(_SEED)
        self.fixed("deviations", DEVIATIONS[:channels].view(-1, 1, 1))
        before = channels
        for layer, (width, size) in enumerate(zip(_WIDTHS[: self.layers], _SIZES, strict=False)):
            self.fixed(f"filters{layer}", _filters(width, before, size, generator))
            projection = torch.randn(_PROJECTED, width, generator=generator, dtype=torch.float64)
            self.fixed(f"projection{layer}", projection / projection.norm(dim=1, keepdim=True))
            before = width

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D statistics of N x C x H x W images, the first layer's first."""
        planes, found = _whitened(opponent(images)) / self.deviations, []
        for layer in range(self.layers):
            planes = _halved(planes) if layer else planes
            filters, projection = self.get_buffer(f"filters{layer}"), self.get_buffer(f"projection{layer}")
            pad = filters.shape[-1] // 2
            planes = _leaky(nn.functional.conv2d(nn.functional.pad(planes, (pad,) * 4, "reflect"), filters))
            found += [nn.functional.adaptive_avg_pool2d(planes, _CELLS).flatten(1), _gram(planes, projection)]
        return torch.cat(found, dim=1)


def _filters(width: int, channels: int, size: int, generator: torch.Generator) -> Tensor:
    drawn = torch.randn(width, channels, size, size, generator=generator, dtype=torch.float64)
    drawn[1:] -= drawn[1:].mean((1, 2, 3), keepdim=True)
    filters: Tensor = drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None]
    return filters


def _whitened(planes: Tensor) -> Tensor:
    """Take 0.9 of the binomial blur of five pixels away, which leaves natural images about as much of each octave."""
    blurred = planes
    for _ in range(2):
        blurred = nn.functional.avg_pool2d(nn.functional.pad(blurred, (1,) * 4, "reflect"), 2, 1)
        blurred = nn.functional.avg_pool2d(blurred, 2, 1)
    return planes - 0.9 * blurred


def _leaky(x: Tensor) -> Tensor:
    """Leaky ReLU of slopes 1 and 0.2 with a round corner: being homogeneous, it sees faint textures as strong ones."""
    return 0.6 * x + 0.4 * (x.square() + LEVEL**2).sqrt()


def _halved(planes: Tensor) -> Tensor:
    """Blur with the binomial filter 1 2 1 and keep every second pixel (Zhang 2019)."""
    padded = nn.functional.pad(planes, (1,) * 4, "reflect")
    return nn.functional.avg_pool2d(nn.functional.avg_pool2d(padded, 2, 1), 2)


def _gram(planes: Tensor, projection: Tensor) -> Tensor:
    combined = torch.einsum("pc,ncs->nps", projection, planes.flatten(2))
    gram = combined @ combined.transpose(1, 2) / combined.shape[-1]
    rows, columns = torch.triu_indices(len(projection), len(projection)).unbind()
    upper = gram[:, rows, columns]
    return upper / (upper.square() + LEVEL**4).sqrt().sqrt()
