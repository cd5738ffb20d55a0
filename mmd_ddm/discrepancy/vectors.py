"""Feature vectors that need not be in memory, nor in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Vectors(Protocol):
    """Feature vectors (M, D) of any size: a tensor, or rows on disk."""

    def __len__(self) -> int:
        """M."""

    def __getitem__(self, where: slice | Tensor) -> Tensor:
        """Some of them, by a range of positions or by positions: (n, D)."""


@dataclass(frozen=True)
class Stacked:
    """Vectors of several sources one after the other."""

    sources: Sequence[Vectors]

    def __len__(self) -> int:
        return sum(len(source) for source in self.sources)

    def __getitem__(self, where: slice | Tensor) -> Tensor:
        if isinstance(where, Tensor):
            return self._chosen(where)
        start, stop, _ = where.indices(len(self))
        found, first = [], 0
        for source in self.sources:
            low, high = max(start - first, 0), min(stop - first, len(source))
            if low < high:
                found.append(source[low:high])
            first += len(source)
        return found[0] if len(found) == 1 else torch.cat(found) if found else self.sources[0][0:0]

    def _chosen(self, where: Tensor) -> Tensor:
        like = self.sources[0][0:1]
        found, first = like.new_empty((len(where), like.shape[1])), 0
        for source in self.sources:
            here = (where >= first) & (where < first + len(source))
            found[here] = source[where[here] - first]
            first += len(source)
        return found


@dataclass(frozen=True)
class Beside:
    """Vectors of several sources side by side: those of a mixture of feature spaces."""

    sources: Sequence[Vectors]

    def __len__(self) -> int:
        return len(self.sources[0])

    def __getitem__(self, where: slice | Tensor) -> Tensor:
        return torch.cat([source[where] for source in self.sources], dim=1)
