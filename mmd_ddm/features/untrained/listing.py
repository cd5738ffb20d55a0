"""Spaces without training by name, and the images that they take."""

from __future__ import annotations

from mmd_ddm.errors import UserError

UNTRAINED = ("scattering", "random_conv", "patches", "spectrum", "pixels")
_SMALLEST = 8


def check_untrained(name: str, image_shape: tuple[int, int, int]) -> None:
    """Refuse images that a space without training can't take.

    Raises:
        UserError: If they are not square, smaller than 8 x 8, or neither grey nor of three colours.
    """
    channels, height, width = image_shape
    if channels not in (1, 3) or height != width or height < _SMALLEST:
        raise UserError(
            f"{name!r} takes square images of 1 or 3 channels and at least {_SMALLEST} x {_SMALLEST} pixels, not "
            f"{channels} x {height} x {width}; choose another feature space."
        )
