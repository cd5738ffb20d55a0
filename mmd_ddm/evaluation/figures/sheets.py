"""Sample sheets: grids of images as PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from mmd_ddm.evaluation.evaluator import Evaluator, to_uint8
from mmd_ddm.files import replacing

SHOWN_CLASSES = 10


def enlarged(images: Tensor, smallest_side: int = 48) -> tuple[Tensor, int]:
    """Colour pixels (N, 3, f H, f W) of images (N, C, H, W) in [-1, 1], C 1 or 3, as uint8 on the CPU, and f.

    Each pixel is repeated f times in both directions: nothing is smoothed, and no side is smaller than asked for.
    """
    pixels = to_uint8(images.cpu()).expand(-1, 3, -1, -1)
    factor = max(1, -(-smallest_side // min(pixels.shape[-2:])))
    return pixels.repeat_interleave(factor, 2).repeat_interleave(factor, 3), factor


def save_samples(evaluator: Evaluator, path: Path, images: int) -> Path:
    """Write so many images of a model, at most those that are scored, as a sheet; of a class-conditional one by class.

    Then each row is of one class: of all that have real images, or of `SHOWN_CLASSES` evenly spread ones, and all rows
    are as long.
    """
    count = min(images, evaluator.images)
    if evaluator.labels is None:
        return save_sheet(evaluator.sample(range(count)), path)
    labels = spread(evaluator.labels.classes, min(SHOWN_CLASSES, count))
    rows = len(labels)
    labels = labels.repeat_interleave(count // rows)
    return save_sheet(evaluator.sample(range(len(labels)), labels=labels), path, columns=count // rows)


def spread(classes: Tensor, most: int) -> Tensor:
    """Of some classes so many at most, evenly spread."""
    rows = min(len(classes), most)
    return classes[torch.linspace(0, len(classes) - 1, rows).long()]


def save_sheet(images: Tensor, path: str | Path, columns: int = 8) -> Path:
    """Write images (N, C, H, W) in [-1, 1], C 1 or 3, in rows as PNG, complete or not at all, with white gaps."""
    pixels, gap = enlarged(images)[0], 2
    white = (0, gap, 0, gap, 0, 0, 0, -len(pixels) % columns)  # to the right, below, and whole images at the end
    tiles = pad(pixels, white, value=255).unflatten(0, (-1, columns))  # (rows, columns, 3, H, W)
    sheet = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)[:-gap, :-gap]
    with replacing(Path(path)) as half:
        Image.fromarray(sheet.numpy()).save(half, format="PNG")
    return Path(path)
