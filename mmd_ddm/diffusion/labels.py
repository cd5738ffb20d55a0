"""Class labels of generated images: as often as in the data, by position alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor

from mmd_ddm.diffusion.noise import NoiseSource


@dataclass(frozen=True)
class LabelSource:
    """Labels by position, independent of each other and of the noise: label c with probability M_c / M.

    Args:
        seed: of the run, 0 or larger.
        stream: what the images are for, as of the `NoiseSource` whose noise they start from.
        counts: M_c, how many real images of each class there are, together at least 1.
    """

    seed: int
    stream: str
    counts: tuple[int, ...]

    @property
    def classes(self) -> Int[Tensor, " C"]:
        """Those that there are images of."""
        return torch.tensor(self.counts).nonzero()[:, 0]

    def draw(self, update: int, indices: Iterable[int]) -> Int[Tensor, " N"]:
        """The labels of some samples of one update, by their positions in the whole batch of all workers."""
        source, ends = NoiseSource(self.seed, f"labels of {self.stream}"), torch.tensor([*accumulate(self.counts)])
        total = int(ends[-1])
        places = [torch.randint(total, (), generator=source.generator(update, index)) for index in indices]
        return torch.searchsorted(ends, torch.stack(places) if places else ends[:0], right=True)


def count_classes(labels: Int[Tensor, " M"]) -> tuple[int, ...]:
    """How many images have each of the labels 0 ... largest."""
    return tuple(torch.bincount(labels).tolist())


def labels_in_turn(classes: int | None, images: int) -> Int[Tensor, " {images}"] | None:
    """Labels 0, 1 ... classes - 1, 0, 1 ... for some images; none of an unconditional model."""
    return None if classes is None else torch.arange(images) % classes
