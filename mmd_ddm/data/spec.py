"""What the project knows about a data set before it reads one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mmd_ddm.data.crop import AS_IS, Crop


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of `size` images, channels (1: grey, 3: colour) x resolution x resolution pixels.

    Args:
        name: What users call it.
        source: Where the images come from, for people.
        licence: Terms of the images.
        size: Number of images.
        resolution: Height and width of an image, in pixels.
        mirrored: Whether mirror images belong to the set.
        base_model: Pretrained diffusion model that is finetuned on it: the name of a folder shipped in
            `mmd_ddm/pretrained/weights` or kept in `cache_home()/models`, another folder or a hub id; None: the user
            has to name one.
        feature_spaces: Feature spaces that fit it, a supervised one first, a self-supervised one last.
        base_model_origin: Where a base model that has to be imported comes from, and the command that imports it.
        read: Reads the images (uint8, M x C x H x W) and their labels (int64) or None, where the set is embedded.
        origin: What `open_source` reads the images from, or the folder of a prepared store; None: embedded.
        given: Whether the user named the origin, so that it need not be the published data set.
        crop: How an image is brought to the resolution.
        labelled: Whether what the origin has as labels are classes.
    """

    name: str
    source: str
    licence: str
    size: int
    resolution: int
    mirrored: bool
    base_model: str | None
    channels: int = 3
    feature_spaces: tuple[str, ...] = ("inception", "clip")
    base_model_origin: str | None = None
    read: Callable[[], tuple[Tensor, Tensor | None]] | None = None
    origin: str | None = None
    given: bool = False
    crop: Crop = AS_IS
    labelled: bool = True
