"""The embedded data set of pictures: a part of CIFAR-10 (Krizhevsky 2009) at 16 x 16 pixels, as one sheet of JPEG."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

SIDE, CLASSES, OF_EACH = 16, 10, 800  # pixels, classes, images of each class
_ACROSS = 100  # images in a row of the sheet
_SHEET = Path(__file__).parent / "cifar10_small.jpg"


def read_cifar10_small() -> tuple[Tensor, Tensor]:
    """Return 8000 x 3 x 16 x 16 images, uint8, and their labels, int64 in 0..9 (0 airplane to 9 truck).

    They are the first 800 training images of each class, reduced by the bicubic filter of `mmd-ddm prepare`, ordered by
    class. An image fills whole blocks of the sheet's JPEG, so none leaks into its neighbours.
    """
    with Image.open(_SHEET) as sheet:
        pixels = torch.frombuffer(bytearray(sheet.convert("RGB").tobytes()), dtype=torch.uint8)
    rows = pixels.view(-1, SIDE, _ACROSS, SIDE, 3)
    images = rows.permute(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE).contiguous()
    return images, torch.arange(CLASSES).repeat_interleave(OF_EACH)


def write_cifar10_small(images: Tensor, labels: Tensor, file: Path = _SHEET) -> None:
    """Write the sheet from all training images, N x 3 x 16 x 16 uint8, and their labels, int64 in 0..9."""
    chosen = torch.cat([(labels == each).nonzero()[:OF_EACH, 0] for each in range(CLASSES)])
    rows = images[chosen].view(-1, _ACROSS, 3, SIDE, SIDE).permute(0, 3, 1, 4, 2)
    sheet = Image.fromarray(rows.reshape(-1, _ACROSS * SIDE, 3).numpy())
    sheet.save(file, "JPEG", quality=98, subsampling=0, optimize=True)
