"""From the bytes of an image file to pixels: every mode that Pillow knows.

Transparent images are laid on white. Colour becomes grey by Pillow's luma, (299 R + 587 G + 114 B) / 1000. Grey values
of 16 bits become round(v / 257), so that white stays white; of colour with 16 bits Pillow keeps the upper 8. The
orientation that a camera noted (EXIF) is applied. Floating-point images must lie in [0, 1].
"""

from __future__ import annotations

import io
import re
import warnings
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmd_ddm.data.crop import Crop, UnfitImageError, fit
from mmd_ddm.data.names import MOST_PIXELS

if TYPE_CHECKING:
    from PIL import Image

_BOMB = f"more than {MOST_PIXELS} pixels, which is taken for a decompression bomb"
_COMMON = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")  # tried first
_STUBS = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}  # recognised by Pillow, not decoded
_JPEG_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # the end of the image, and all that a length follows
_GREY = {"1", "L", "LA", "La", "I", "F"}


class CorruptImageError(ValueError):
    """The file is truncated, damaged, or no image at all."""


@lru_cache(maxsize=1)
def readable_formats() -> tuple[str, ...]:
    """Names of the formats that Pillow opens and decodes, without EPS, which would run Ghostscript on the file."""
    from PIL import Image

    Image.init()
    others = (name for name in Image.OPEN if name not in {*_COMMON, *_STUBS, "EPS"})
    return (*_COMMON, *others)


def decode(content: bytes | NDArray[np.uint8], channels: int, crop: Crop, resolution: int) -> NDArray[np.uint8]:
    """Return the pixels, channels (1 or 3) x resolution x resolution, of an encoded file or of pixels C x H x W.

    Raises:
        CorruptImageError: If the file cannot be decoded whole.
        UnfitImageError: If the image is too small (nothing is ever enlarged) or has values of no known range.
    """
    from PIL import Image

    if isinstance(content, bytes):
        image = _load(content)
    else:
        image = Image.fromarray(content[0] if len(content) == 1 else np.ascontiguousarray(content.transpose(1, 2, 0)))
    pixels = np.array(fit(_in_channels(image, channels), crop, resolution), dtype=np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def is_grey(content: bytes | NDArray[np.uint8]) -> bool:
    """Tell from the header of an image whether it has no colour.

    Raises:
        CorruptImageError: If it has no header that Pillow knows.
    """
    if not isinstance(content, bytes):
        return len(content) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mode = _open(content).mode
    return mode in _GREY or mode.startswith("I;16")


def _open(content: bytes) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise CorruptImageError("is empty")
    try:
        image = Image.open(io.BytesIO(content), formats=readable_formats())
    except Image.DecompressionBombError:
        raise CorruptImageError(f"has {_BOMB}") from None
    except UnidentifiedImageError:
        raise CorruptImageError("is no image of a known format") from None
    except Exception as error:  # formats' plugins raise whatever a wrong byte leads to
        raise CorruptImageError(f"is damaged ({error})") from None
    if image.width * image.height > MOST_PIXELS:
        raise CorruptImageError(f"is {image.width} x {image.height}, {_BOMB}")
    return image


def _load(content: bytes) -> Image.Image:
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tags beside the pixels; what is wrong with the pixels raises
        image = _open(content)
        try:
            if image.format == "PNG":
                _open(content).verify()  # checksums, which loading leaves out
            image.load()
        except Exception as error:
            raise CorruptImageError(f"is truncated or damaged ({error})") from None
        if image.format in ("JPEG", "MPO") and not _reaches_end(content):
            raise CorruptImageError("is truncated or damaged (no end of image)")
        with suppress(Exception):  # a damaged tag says nothing about the pixels
            ImageOps.exif_transpose(image, in_place=True)
        return image


def _reaches_end(jpeg: bytes) -> bool:
    """Whether the image of a JPEG file reaches its end marker.

    What is missing may have been replaced by zeros, as downloads do that reserve their space; they decode to grey.
    """
    at = 2
    while found := _JPEG_MARKER.search(jpeg, at):
        at = found.end()
        if jpeg[at - 1] == 0xD9:
            return True
        at += int.from_bytes(jpeg[at : at + 2], "big")  # a header; what follows one of a scan has no markers within
    return False


def _in_channels(image: Image.Image, channels: int) -> Image.Image:
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    if image.mode == "F" or image.mode.startswith("I"):
        return _eight_bits(image).convert(mode)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LAB":
        image = _from_lab(image)
    if image.has_transparency_data or image.mode in ("RGBa", "LA", "PA"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    from PIL import Image

    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # false for NaN too
            raise UnfitImageError(f"has floating-point values from {low:g} to {high:g}; they must lie in [0, 1]")
        return Image.fromarray(np.round(values * 255).astype(np.uint8))
    if low < 0 or high > 65535:
        raise UnfitImageError(f"has values from {low} to {high}; 0 to 65535 are what is known how to read")
    return Image.fromarray(((values.astype(np.int64) + 128) // 257).astype(np.uint8))


def _from_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    if converted is None:
        raise UnfitImageError("is in CIELAB and was not converted")
    return converted
