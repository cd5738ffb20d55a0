"""Random changes of an image that leave what it shows as it was."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def move(images: Tensor, pixels: float, degrees: float, stretch: float) -> Tensor:
    """Shift, rotate and scale each image at random; what comes in over the border repeats the border.

    Each quantity is uniform on its range, both signs: `pixels` is the largest shift along each axis, `degrees` the
    largest angle, `stretch` the largest relative change of size, below 1. Interpolation is bilinear.
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
    """Multiply the distance to black of each image, in [-1, 1], by a random factor and add white noise; unclipped.

    Both are drawn for each image: the factor within 1 +- `contrast`, the noise's standard deviation up to `noise`.
    """
    factor = 1 + _uniform(len(images)).view(-1, 1, 1, 1) * contrast
    deviation = torch.rand(len(images), 1, 1, 1) * noise
    white = (torch.randn(images.shape) * deviation).to(images.device)
    return (images + 1) * factor.to(images.device) - 1 + white


def cut_out(images: Tensor, part: float, probability: float, value: float = -1.0) -> Tensor:
    """Blacken a square at a random place of each image in [-1, 1] with a probability; its side is `part` of theirs.

    `value` is what its pixels become: black, or another grey.
    """
    count, height, width = len(images), images.shape[-2], images.shape[-1]
    row, column = (torch.rand(count, 1, 1, 1) for _ in range(2))
    inside_rows = ((torch.arange(height) + 0.5).view(1, 1, -1, 1) / height - row).abs() < part / 2
    inside_columns = ((torch.arange(width) + 0.5) / width - column).abs() < part / 2
    cut = inside_rows & inside_columns & (torch.rand(count, 1, 1, 1) < probability)
    return images.masked_fill(cut.to(images.device), value)


def mirror(images: Tensor) -> Tensor:
    """Mirror each image, left to right, with probability one half."""
    chosen = (torch.rand(len(images), 1, 1, 1) < 0.5).to(images.device)
    return torch.where(chosen, images.flip(-1), images)


def _uniform(count: int) -> Tensor:
    return 2 * torch.rand(count) - 1
