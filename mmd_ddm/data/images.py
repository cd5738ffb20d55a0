"""A set of images, in memory or in a prepared store, as every stage of the project receives it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmd_ddm.data.store import Rows


@dataclass(frozen=True)
class ImageSet:
    """M real images as they are stored; ValueError if shapes or types are not as below."""

    name: str  # in the catalogue
    images: Tensor | Rows  # M x C x H x W, uint8; rows of a store stay on disk until they are asked for
    labels: Tensor | None  # M class numbers (int64), or None where the set has no classes
    mirrored: bool  # whether a mirror image is as good a member of the set as the image itself

    def __post_init__(self) -> None:
        shape = (len(self), *self.images.shape[-3:])
        whole = isinstance(self.images, Rows) or self.images.ndim == 4
        if self.images.dtype != torch.uint8 or not whole or len(shape) != 4 or len(self) == 0:
            found = f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            raise ValueError(f"Images of {self.name!r} must be uint8, M x C x H x W with M > 0, not {found}.")
        if self.labels is not None and (self.labels.dtype != torch.int64 or self.labels.shape != (len(self),)):
            raise ValueError(f"Labels of {self.name!r} must be int64, one for each image.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[-3:]
        return channels, height, width

    def floats(self, indices: Tensor | slice = slice(None)) -> Tensor:
        """Return the images (or those at `indices`) as float32 in [-1, 1]: value / 127.5 - 1."""
        return self.images[indices].to(torch.float32) / 127.5 - 1

    def pieces(self, size: int) -> Iterator[Tensor]:
        """All images in order, uint8, at most `size` at a time; not to be written to."""
        for start in range(0, len(self), size):
            yield self.images[start : start + size]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images: equal for equal images that are kept in the same way, on any machine."""
        if isinstance(self.images, Rows):
            return self.images.fingerprint
        digest = hashlib.sha256(f"{self.images.dtype} {tuple(self.images.shape)} ".encode())
        digest.update(self.images.contiguous().numpy().data)
        return digest.hexdigest()
