"""Sample sheets: grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

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


def save_sheet(images: Tensor, path: str | Path, columns: int = 8, gap: int = 2) -> Path:
    """Write images in rows as PNG, complete or not at all.

    Args:
        images: (N, C, H, W) in [-1, 1], C 1 or 3.
        path: the file.
        columns: images a row.
        gap: white pixels between images.
    """
    pixels = enlarged(images)[0]
    white = (0, gap, 0, gap, 0, 0, 0, -len(pixels) % columns)  # to the right, below, and whole images at the end
    tiles = pad(pixels, white, value=255).unflatten(0, (-1, columns))  # (rows, columns, 3, H, W)
    sheet = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)[:-gap, :-gap]
    with replacing(Path(path)) as half:
        Image.fromarray(sheet.numpy()).save(half, format="PNG")
    return Path(path)
