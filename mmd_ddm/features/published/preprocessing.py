"""What is done to images before a published network sees them, as one table; `prepared` does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mmd_ddm.errors import UserError

PREPROCESSINGS = EVALUATION, PUBLISHED = ("evaluation", "published")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ONE_HALF = (0.5, 0.5, 0.5)
_TENSORFLOW = (128 / 255,) * 3  # (v - 128) / 128 of v in 0..255, for pixels in [0, 1]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels in [0, 1] become the input of a network; `repr` says all of it and is part of a space's identity.

    Args:
        resize: Interpolation; "tensorflow" is bilinear as TensorFlow 1 does it (corners not aligned, pixels not
            centred), which the Inception network of the FID was trained and published with.
        size: Pixels that the short side gets, or both sides where nothing is cropped.
        crop: Side of the square cut from the centre after resizing; None to stretch the image to a square.
        antialias: Whether the filter grows with the scale when an image shrinks, as in PIL. PyTorch's bicubic filter
            also has a = -0.5 with it, as PIL's, and a = -0.75 without it, so that enlarged images differ as well.
        clamp: Whether what bicubic interpolation throws beyond [0, 1] is cut off, as 8-bit images do.
        mean: Of each channel, subtracted.
        std: Of each channel, divided by.
    """

    resize: Literal["tensorflow", "bilinear", "bicubic"]
    size: int
    crop: int | None
    antialias: bool
    clamp: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


TABLE = {
    ("inception", EVALUATION): Preprocessing("tensorflow", 299, None, False, False, _TENSORFLOW, _TENSORFLOW),
    ("inception", PUBLISHED): Preprocessing("bilinear", 299, None, False, False, _ONE_HALF, _ONE_HALF),
    ("clip", EVALUATION): Preprocessing("bicubic", 224, 224, True, True, _CLIP_MEAN, _CLIP_STD),
    ("clip", PUBLISHED): Preprocessing("bicubic", 224, None, False, False, _CLIP_MEAN, _CLIP_STD),
    ("dinov2", EVALUATION): Preprocessing("bicubic", 224, 224, True, True, _IMAGENET_MEAN, _IMAGENET_STD),
}
"""Preprocessing by network and way.

`evaluation` is what tools that compute scores do: for Inception torch-fidelity's TensorFlow resize to 299 and
(v - 128) / 128; for CLIP open_clip's own transform (short side to 224 by PIL's bicubic filter, centre crop, CLIP's mean
and standard deviation); for DINOv2 the same with ImageNet's. Models by name (`open_clip:`, `timm:`) bring their own,
see `transforms`. `published` is what the code published with arXiv 2301.07969 does, which has Inception and CLIP only:
resized without antialiasing, bilinear to 299 and [0, 1] mapped to [-1, 1], or bicubic to 224 with CLIP's mean and
standard deviation; images that aren't square are stretched.
"""


def preprocessing_of(name: str, way: str) -> Preprocessing | None:
    """Return the line of `TABLE` for a feature space; None if its network brings its own transform or needs none.

    Raises:
        UserError: If there is no such way, or it is "published" for a network that the paper's code doesn't use.
    """
    if way not in PREPROCESSINGS:
        raise UserError(f"There is no preprocessing {way!r}; choose one of: {', '.join(PREPROCESSINGS)}.")
    network = "inception" if name.startswith("inception") else name
    if way == PUBLISHED and (network, way) not in TABLE:
        raise UserError(f"The paper's code has no preprocessing for {network!r}; use preprocessing {EVALUATION!r}.")
    return TABLE.get((network, way))
