"""The feature network for pictures: residual convolutions from 4 x 4 to the image's resolution, in any layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SMALLEST = 4  # height and width of the last layer's activations
_CELLS = 2  # a layer is averaged over this many cells along each axis


class Convolution(nn.Module):
    """A 3 x 3 convolution, halving or not, with normalised activations: SiLU(norm(pool(conv(x)))).

    The normalisation is over the batch while it is trained, and becomes part of the convolution by `fold`.
    """

    def __init__(self, channels: int, wider: int, *, halving: bool = False, folded: bool = False) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, wider, 3, padding=1, bias=folded)
        self.halving = nn.AvgPool2d(2) if halving else nn.Identity()  # a stride would leave a grid in the gradient
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(wider)
        self.activation = nn.SiLU()  # smooth, as gradients of images go through it

    def forward(self, images: Tensor) -> Tensor:
        """Return N x wider activations of N x channels x H x W ones."""
        active: Tensor = self.activation(self.norm(self.halving(self.convolution(images))))
        return active

    def fold(self) -> None:
        """Make the normalisation, with the statistics gathered so far, part of the convolution."""
        assert isinstance(self.norm, nn.BatchNorm2d)
        # a mean over pixels lies between the two; it leaves factors and constants of a channel as they are
        self.convolution = nn.utils.fusion.fuse_conv_bn_eval(self.convolution.eval(), self.norm.eval())
        self.norm = nn.Identity()


class Stage(nn.Module):
    """A convolution, then residual ones at its resolution."""

    def __init__(self, channels: int, wider: int, *, halving: bool, depth: int, folded: bool) -> None:
        super().__init__()
        self.first = Convolution(channels, wider, halving=halving, folded=folded)
        self.rest = nn.Sequential(*(Convolution(wider, wider, folded=folded) for _ in range(depth)))

    def forward(self, images: Tensor) -> Tensor:
        """Return x + rest(x), where x = first(images)."""
        entered = self.first(images)
        changed: Tensor = entered + self.rest(entered)
        return changed


class ResidualNetwork(nn.Module):
    """Stages of halved resolution, the last one at 4 x 4, whose activations are averaged over pixels.

    Args:
        image_shape: Channels, height and width of an image; height and width a power of two, at least 8.
        width: Channels at the image's resolution, and half of those at the ones between it and the last.
        dim: Channels at the last one, the number of features D.
        folded: Whether its normalisations are part of its convolutions already.
    """

    def __init__(self, image_shape: tuple[int, int, int], width: int, dim: int, *, folded: bool = False) -> None:
        super().__init__()
        channels, resolution, _ = image_shape
        widths = [width]
        while resolution > 2 * _SMALLEST:
            widths.append(2 * width)
            resolution //= 2
        widths.append(dim)
        self.stages = nn.ModuleList(
            Stage(before, here, halving=index > 0, depth=1, folded=folded)
            for index, (before, here) in enumerate(zip([channels, *widths[:-1]], widths, strict=True))
        )
        self.widths = tuple(widths)

    def layers(self, images: Tensor) -> list[Tensor]:
        """Return the activations of each stage, the image's resolution first: N x widths[i] x H_i x W_i."""
        found = [images]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found[1:]

    def forward(self, images: Tensor) -> Tensor:
        """Return the N x D means over pixels of the last stage's activations."""
        return self.layers(images)[-1].mean((2, 3))

    def fold(self) -> None:
        """Make all normalisations part of the convolutions; from then on the network is never trained."""
        for module in list(self.modules()):
            if isinstance(module, Convolution):
                module.fold()


class Layers(nn.Module):
    """The activations of all layers of a network, each averaged over 2 x 2 cells of the image, side by side.

    What the last layer alone has thrown away (colour, texture, place) is still seen in the first ones, as in the
    perceptual distance LPIPS (Zhang et al. 2018, arXiv 1801.03924).
    """

    def __init__(self, network: ResidualNetwork) -> None:
        super().__init__()
        self.network = network
        self.dims = tuple(width * _CELLS**2 for width in network.widths)

    def forward(self, images: Tensor) -> Tensor:
        """Return the N x sum(dims) means of N x C x H x W images."""
        cells = [nn.functional.adaptive_avg_pool2d(layer, _CELLS).flatten(1) for layer in self.network.layers(images)]
        return torch.cat(cells, dim=1)
