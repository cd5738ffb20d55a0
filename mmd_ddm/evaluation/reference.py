"""The real side of the scores in one feature space, computed once and kept with the bank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.mmd import Moments
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.fid import Gaussian, fit
from mmd_ddm.evaluation.measures.kid import real_moments
from mmd_ddm.evaluation.measures.neighbours import nearest


@dataclass(frozen=True)
class RealSide:
    """Real features and what KID and FID need of them alone.

    Args:
        bank: Features of the real images, without mirror images.
        device: To compute on.
    """

    bank: Bank
    device: torch.device

    @property
    def features(self) -> Vectors:
        """(M, D)."""
        return self.bank.features

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance."""
        kept = self.bank.recall("gaussian")
        if kept is None:
            found = fit(self.features, self.device)
            self.bank.keep("gaussian", found._asdict())
            return found
        return Gaussian(**{name: tensor.to(self.device) for name, tensor in kept.items()})

    @cached_property
    def moments(self) -> Moments | None:
        """Sums over KID's kernel among the real images; None where they are too many for all pairs."""
        kept = self.bank.recall("kid")
        if kept is None:
            found = real_moments(self.features, self.device)
            if found is not None:
                self.bank.keep("kid", {"rows": found.rows, "squares": found.squares})
            return found
        rows = kept["rows"].to(self.device)
        return Moments(rows, rows, kept["squares"].to(self.device))

    @cached_property
    def own_distances(self) -> Tensor:
        """Of each real image to the nearest other one, (M,) float64."""
        kept = self.bank.recall("nearest")
        if kept is None:
            found = nearest(_On(self.features, self.device), self.features, leave_one_out=True).distances[:, 0]
            self.bank.keep("nearest", {"distances": found})
            return found
        return kept["distances"].to(self.device)


@dataclass(frozen=True)
class _On:
    """Vectors on a device, moved piece by piece."""

    source: Vectors
    device: torch.device

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, where: slice | Tensor) -> Tensor:
        return self.source[where].to(self.device)
