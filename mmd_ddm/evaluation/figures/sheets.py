"""Sample sheets: grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mmd_ddm.evaluation.evaluator import to_uint8
from mmd_ddm.files import replacing

SMALLEST_SIDE = 48  # pixels on the sheet; smaller images are enlarged without smoothing


def enlarged(images: Tensor, smallest_side: int = SMALLEST_SIDE) -> tuple[Tensor, int]:
    """Colour pixels of images, each repeated a whole number of times so that nothing is smoothed.

    Args:
        images: (N, C, H, W) in [-1, 1], C 1 or 3.
        smallest_side: that the shorter side reaches at least, in pixels.

    Returns:
        (N, 3, f H, f W) uint8 on the CPU, grey images with three equal channels, and f, 1 or larger.
    """
    pixels = to_uint8(images.cpu()).expand(-1, 3, -1, -1)
    factor = max(1, -(-smallest_side // min(pixels.shape[-2:])))
    return pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3), factor


def grid(images: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """Arrange images in rows.

    Args:
        images: (N, C, H, W) in [-1, 1], C 1 or 3.
        columns: images a row.
        gap: white pixels between images.
    """
    pixels, _ = enlarged(images)
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = torch.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return Image.fromarray(sheet.permute(1, 2, 0).numpy())


def save_sheet(images: Tensor, path: Path, columns: int = 8) -> Path:
    """Write a grid of images (N, C, H, W) as PNG, complete or not at all."""
    return save_png(grid(images, columns), path)


def save_png(image: Image.Image, path: Path, density: int | None = None) -> Path:
    """Write a PNG, complete or not at all, with the density (pixels an inch) at which it is to be shown."""
    with replacing(path) as half:
        image.save(half, format="PNG", **({} if density is None else {"dpi": (density, density)}))
    return path
