"""Statistics of small patches at several scales: what sees noise, blur and greyness."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmd_ddm.features.untrained.statistics import LEVEL, Statistics, octaves, opponent

_SIDE, _SCALES, _CELLS = 4, 4, 2
_WIDE = 32  # images from which every second patch in each direction is enough


class Patches(Statistics):
    """Cosine transforms of 4 x 4 patches, without their mean, at up to four scales.

    At each scale, for each coefficient c: the log of the mean of c^2 in 2 x 2 cells; its sparsity, log mean |c| -
    log(mean c^2) / 2, which is log(2 / pi) / 2 of Gaussian noise and less where edges are rare and strong; and the
    correlations of its values in the three opponent colours.
    """

    filters: Tensor

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        channels, resolution, _ = image_shape
        self.scales = min(octaves(resolution) - 2, _SCALES)
        coefficients = _SIDE**2 - 1
        pairs = channels * (channels - 1) // 2
        super().__init__((coefficients * (channels * (_CELLS**2 + 1) + pairs),) * self.scales)
        self.fixed("filters", _cosines(_SIDE)[1:, None])

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D statistics of N x C x H x W images, fine scales first."""
        planes, found = opponent(images), []
        for _ in range(self.scales):
            found.append(self._of_one_scale(planes))
            planes = nn.functional.avg_pool2d(planes, 2)
        return torch.cat(found, dim=1)

    def _of_one_scale(self, planes: Tensor) -> Tensor:
        n, channels, side, _ = planes.shape
        c = nn.functional.conv2d(planes.flatten(0, 1)[:, None], self.filters, stride=1 if side < _WIDE else 2)
        floor = LEVEL**2
        in_cells = (nn.functional.adaptive_avg_pool2d(c.square(), _CELLS) + floor).log()
        power = c.square().mean((-2, -1)) + floor
        sparsity = (c.square() + floor).sqrt().mean((-2, -1)).log() - power.log() / 2
        c, power = c.unflatten(0, (n, channels)), power.unflatten(0, (n, channels))
        products = [
            (c[:, i] * c[:, j]).mean((-2, -1)) / (power[:, i] * power[:, j]).sqrt()
            for i in range(channels)
            for j in range(i)
        ]
        return torch.cat([in_cells.reshape(n, -1), sparsity.reshape(n, -1), *products], dim=1)


def _cosines(side: int) -> Tensor:
    """Return the orthonormal DCT-II basis of side x side patches, the constant first: side^2 x side x side."""
    at = torch.arange(side, dtype=torch.float64)
    basis = torch.cos(math.pi / side * (at[None, :] + 0.5) * at[:, None]) * math.sqrt(2 / side)
    basis[0] /= math.sqrt(2)
    return torch.einsum("ay,bx->abyx", basis, basis).reshape(-1, side, side)
