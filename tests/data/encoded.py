"""Images in files of several formats."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmd_ddm.data.crop import AS_IS
from mmd_ddm.data.decode import decode

SIDE = 12


Pixels = NDArray[np.uint8]


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def noise(rng: np.random.Generator, *shape: int) -> Pixels:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def square(content: bytes | Pixels, channels: int = 3, side: int = SIDE) -> Pixels:
    return decode(content, channels, AS_IS, side)
