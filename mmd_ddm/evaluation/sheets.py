"""Sample sheets: grids of images as PNG files."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mmd_ddm.evaluation.scores import to_uint8

SMALLEST_SIDE = 48  # pixels on the sheet; smaller images are enlarged without smoothing


def grid(images: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """Arrange images in rows.

    Args:
        images: (N, C, H, W) in [-1, 1], C 1 or 3.
        columns: images a row.
        gap: white pixels between images.
    """
    pixels = to_uint8(images.cpu()).expand(-1, 3, -1, -1)
    scale = max(1, -(-SMALLEST_SIDE // min(pixels.shape[-2:])))
    pixels = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    count, _, height, width = pixels.shape
    rows = -(-count // columns)
    sheet = torch.full((3, rows * (height + gap) - gap, columns * (width + gap) - gap), 255, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[:, top : top + height, left : left + width] = image
    return Image.fromarray(sheet.permute(1, 2, 0).numpy())


def save_sheet(images: Tensor, path: Path, columns: int = 8) -> Path:
    """Write a grid of images (N, C, H, W) as PNG, complete or not at all."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    grid(images, columns).save(half, format="PNG")
    half.rename(path)
    return path
