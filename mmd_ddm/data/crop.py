"""How an image of any size becomes a square of the wanted resolution, as published for each data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


class UnfitImageError(ValueError):
    """The image is sound, but cannot be brought to the wanted form."""


class TooSmallError(UnfitImageError):
    """The image has fewer pixels than are wanted."""


@dataclass(frozen=True)
class Crop:
    """Cut out a window, bring its short side to the resolution by one of Pillow's filters, cut out the centre."""

    window: tuple[int, int, int, int] | None = None  # left, upper, right, lower in pixels; None: the whole image
    whole: tuple[int, int] | None = None  # width and height that an image must have for the window to mean anything
    filter: str | None = None  # antialiased; None: the image must have the resolution already


AS_IS = Crop()
# Facts of the published DDIM data code: torchvision's Resize (bilinear, antialiased on Pillow images), CenterCrop
CENTRE_BILINEAR = Crop(filter="bilinear")
# 128 x 128 about x 89, y 121 of the aligned 178 x 218 images
CELEBA = Crop(window=(89 - 64, 121 - 64, 89 + 64, 121 + 64), whole=(178, 218), filter="bilinear")
# no published code to follow for a user's images: bicubic keeps more detail than bilinear and rings less than Lanczos
CENTRE_BICUBIC = Crop(filter="bicubic")


def fit(image: Image.Image, crop: Crop, resolution: int) -> Image.Image:
    """Bring a grey or colour image of 8 bits to a square of resolution x resolution pixels.

    Raises:
        UnfitImageError: If the image is too small, or has not the size that the crop is made for.
    """
    from PIL import Image

    size = f"{image.width} x {image.height}"
    if crop.whole is not None and image.size != crop.whole:
        wanted = f"{crop.whole[0]} x {crop.whole[1]}"
        raise UnfitImageError(f"is {size}, but only images of {wanted} can be cropped as published")
    if crop.filter is None:
        if image.size != (resolution, resolution):
            raise UnfitImageError(f"is {size}, but this data set's images must be {resolution} x {resolution} already")
        return image
    if crop.window is not None:
        image = image.crop(crop.window)
    short, long = sorted(image.size)
    if short < resolution:
        raise TooSmallError(
            f"is {size}, too small for a resolution of {resolution}; images are never enlarged, but mmd-ddm prepare "
            "--skip-small leaves them out"
        )
    # lengths and offsets are rounded as in torchvision's Resize and CenterCrop
    sides = [resolution if side == short else int(resolution * long / short) for side in image.size]
    image = image.resize((sides[0], sides[1]), Image.Resampling[crop.filter.upper()])
    left, upper = (round((side - resolution) / 2) for side in sides)
    return image.crop((left, upper, left + resolution, upper + resolution))
