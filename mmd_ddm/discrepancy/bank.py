"""The bank: features of all real images of a data set in a feature space, computed once.

Attraction to the whole bank in every update has no sampling noise from the real side, needs no pass of real images,
and makes the real-real term a constant, so that the logged loss is a true MMD^2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mmd_ddm.discrepancy.gather import Collective, share
from mmd_ddm.errors import UserError

EMBED_BATCH = 512


@dataclass(frozen=True)
class Bank:
    """Features of real images.

    Args:
        features: (M, D), mirror images included where the data set is mirrored.
    """

    features: Tensor

    def __post_init__(self) -> None:
        if len(self.features) < 4:
            raise UserError(f"the data set has {len(self.features)} images; an unbiased MMD needs at least 4")

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def embed(cls, images: Tensor, space: Callable[[Tensor], Tensor], collective: Collective) -> Bank:
        """Embed images, spread over the workers.

        Args:
            images: (M, C, H, W) in [-1, 1], the same on every worker.
            space: images to features.
            collective: the workers.
        """
        mine = share(len(images), collective)
        with torch.no_grad():
            pieces = images[mine.start : mine.stop].split(EMBED_BATCH)
            return cls(collective.gather_rows(torch.cat([space(piece) for piece in pieces])))

    def shard(self, collective: Collective) -> Tensor:
        """The rows that this worker attracts to."""
        mine = share(len(self), collective)
        return self.features[mine.start : mine.stop]

    def rows(self, indices: Tensor) -> Bank:
        """A bank of some rows, for a fresh real batch."""
        return Bank(self.features[indices.to(self.features.device)])
