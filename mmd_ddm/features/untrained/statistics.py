"""What a space without training is: statistics of images of one shape, and what their parts share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LEVEL = 2 / 255
"""One step of 8-bit pixels in [-1, 1]: what is smaller than that in a picture is no part of it.

Logarithms have its amplitude, or its square, as their floor, so that flat images have finite features and gradients.
"""

DEVIATIONS = torch.tensor([1.0, 0.3, 0.15], dtype=torch.float64)
"""Of opponent colours in photographs, relative to the luminance's."""

_OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
_OPPONENT = _OPPONENT / _OPPONENT.norm(dim=1, keepdim=True)


class Statistics(nn.Module):
    """Fixed functions of images of one shape, side by side.

    Filters are buffers that the state does not hold: they follow from the shape.

    Args:
        groups: Numbers of features in the parts of which each counts alike, such as scales.
    """

    def __init__(self, groups: tuple[int, ...]) -> None:
        super().__init__()
        self.groups = groups

    def fixed(self, name: str, value: Tensor) -> None:
        """Keep a filter beside the module."""
        self.register_buffer(name, value, persistent=False)


def opponent(images: Tensor) -> Tensor:
    """Return luminance, red against blue, and green against both, of N x 3 x H x W images; grey ones as they are.

    An orthonormal basis, near the principal axes of the colours of natural images (Ruderman et al. 1998).
    """
    if images.shape[1] == 1:
        return images
    return torch.einsum("oc,nchw->nohw", _OPPONENT.to(images), images)


def from_opponent(planes: Tensor) -> Tensor:
    """Invert `opponent`."""
    if planes.shape[1] == 1:
        return planes
    return torch.einsum("oc,nohw->nchw", _OPPONENT.to(planes), planes)


def octaves(resolution: int) -> int:
    """Return the whole number of halvings from a resolution to 1: 4 for 16."""
    return int(math.log2(resolution))
