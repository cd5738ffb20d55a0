"""Random changes of an image that leave what it shows as it was."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def move(images: Tensor, pixels: float, degrees: float, stretch: float) -> Tensor:
    """Shift, rotate and scale each image at random; what comes in over the border repeats the border.

    Args:
        images: N x C x H x W.
        pixels: Largest shift along each axis.
        degrees: Largest angle.
        stretch: Largest relative change of size, below 1.

    Returns:
        The moved images, bilinearly interpolated; each quantity is uniform on its range, both signs.
    """
    count, size = len(images), images.shape[-1]
    angle = _uniform(count) * math.radians(degrees)
    zoom = 1 + _uniform(count) * stretch
    cosine, sine = zoom * angle.cos(), zoom * angle.sin()
    shift_x, shift_y = (_uniform(count) * pixels * 2 / size for _ in range(2))
    rows = torch.stack([cosine, -sine, shift_x, sine, cosine, shift_y], dim=1)
    grid = nn.functional.affine_grid(rows.view(-1, 2, 3).to(images.device), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def recolour(images: Tensor, contrast: float, noise: float) -> Tensor:
    """Multiply each image's distance to black by a random factor and add white noise.

    Args:
        images: N x C x H x W, in [-1, 1].
        contrast: Largest relative change of the factor.
        noise: Largest standard deviation of the noise, drawn for each image.

    Returns:
        The changed images, not clipped.
    """
    factor = 1 + _uniform(len(images)).view(-1, 1, 1, 1) * contrast
    deviation = torch.rand(len(images), 1, 1, 1) * noise
    white = (torch.randn(images.shape) * deviation).to(images.device)
    return (images + 1) * factor.to(images.device) - 1 + white


def cut_out(images: Tensor, part: float, probability: float) -> Tensor:
    """Blacken a square at a random place in some of the images.

    Args:
        images: N x C x H x W, in [-1, 1].
        part: Side of the square, as a part of the image's.
        probability: How likely an image is cut.

    Returns:
        The cut images.
    """
    count, height, width = len(images), images.shape[-2], images.shape[-1]
    row, column = (torch.rand(count, 1, 1, 1) for _ in range(2))
    inside_rows = ((torch.arange(height) + 0.5).view(1, 1, -1, 1) / height - row).abs() < part / 2
    inside_columns = ((torch.arange(width) + 0.5) / width - column).abs() < part / 2
    cut = inside_rows & inside_columns & (torch.rand(count, 1, 1, 1) < probability)
    return images.masked_fill(cut.to(images.device), -1.0)


def mirror(images: Tensor) -> Tensor:
    """Mirror each image, left to right, with probability one half."""
    chosen = (torch.rand(len(images), 1, 1, 1) < 0.5).to(images.device)
    return torch.where(chosen, images.flip(-1), images)


def _uniform(count: int) -> Tensor:
    return 2 * torch.rand(count) - 1
