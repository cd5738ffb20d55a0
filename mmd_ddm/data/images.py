"""A set of images in memory, as every stage of the project receives it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """M real images as stored (uint8), with what a reader has to know about them.

    Args:
        name: Name in the catalogue.
        images: M x C x H x W, uint8.
        labels: M class numbers (int64), or None where the set has no classes.
        mirrored: Whether a mirror image is as good a member of the set as the image itself.

    Raises:
        ValueError: If shapes or types are not those above.
    """

    name: str
    images: Tensor
    labels: Tensor | None
    mirrored: bool

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4 or len(self.images) == 0:
            found = f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            raise ValueError(f"Images of {self.name!r} must be uint8, M x C x H x W with M > 0, not {found}.")
        if self.labels is not None and (self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]):
            raise ValueError(f"Labels of {self.name!r} must be int64, one for each image.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def floats(self, indices: Tensor | slice = slice(None)) -> Tensor:
        """Return the images (or those at `indices`) as float32 in [-1, 1]: value / 127.5 - 1."""
        return self.images[indices].to(torch.float32) / 127.5 - 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the images' type, shape and bytes: equal for equal images, on any machine."""
        digest = hashlib.sha256(f"{self.images.dtype} {tuple(self.images.shape)} ".encode())
        digest.update(self.images.contiguous().numpy().data)
        return digest.hexdigest()
