"""The data sets the project knows by name, each with its base model and its feature spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from mmd_ddm.data.digits import read_digits
from mmd_ddm.data.images import ImageSet
from mmd_ddm.errors import UserError

Reader = Callable[[], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue.

    Args:
        name: What users call it.
        source: Where the images come from, for people.
        licence: Terms of the images.
        size: Number of images.
        channels: 1 (grey) or 3 (colour).
        resolution: Height and width of an image, in pixels.
        mirrored: Whether mirror images belong to the set.
        base_model: Pretrained diffusion model that is finetuned on it: the name of a folder shipped in
            `mmd_ddm/pretrained/weights`, another folder or a hub id.
        feature_spaces: Feature spaces that fit it, a supervised one first, a self-supervised one last.
        read: Reads the images (uint8, M x C x H x W) and their labels (int64) or None.
    """

    name: str
    source: str
    licence: str
    size: int
    channels: int
    resolution: int
    mirrored: bool
    base_model: str
    feature_spaces: tuple[str, ...]
    read: Reader


_ENTRIES = (
    Entry(
        name="digits",
        source="scikit-learn's load_digits: test part of the UCI Optical Recognition of Handwritten Digits",
        licence="CC BY 4.0",
        size=1797,
        channels=1,
        resolution=8,
        mirrored=False,  # a mirrored 2 is no digit
        base_model="digits",
        feature_spaces=("classifier", "contrastive"),
        read=read_digits,
    ),
)


def dataset_names() -> tuple[str, ...]:
    """Return the names of all known data sets."""
    return tuple(each.name for each in _ENTRIES)


def entry(name: str) -> Entry:
    """Return the catalogue's entry of a data set.

    Args:
        name: One of `dataset_names()`.

    Returns:
        Its entry; reads nothing.

    Raises:
        UserError: If there is no data set of that name.
    """
    for each in _ENTRIES:
        if each.name == name:
            return each
    raise UserError(f"There is no data set {name!r}; choose one of: {', '.join(dataset_names())}.")


def load_dataset(name: str) -> ImageSet:
    """Read a data set of the catalogue into memory.

    Args:
        name: One of `dataset_names()`.

    Returns:
        Its images and labels.

    Raises:
        UserError: If there is no data set of that name.
        ValueError: If what was read is not what the entry says.
    """
    found = entry(name)
    images, labels = found.read()
    expected = (found.size, found.channels, found.resolution, found.resolution)
    if tuple(images.shape) != expected:
        raise ValueError(f"The images of {name!r} have shape {tuple(images.shape)}, not {expected}.")
    return ImageSet(found.name, images, labels, found.mirrored)
