"""The real side of the scores in one feature space, computed once and kept with the bank."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.gaussian import Gaussian
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.discrepancy.mmd import Moments, within_moments
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.kid import ALL_PAIRS
from mmd_ddm.evaluation.measures.neighbours import nearest


@dataclass(frozen=True)
class RealSide:
    """A bank of real features, without mirror images, and what scores need of them alone, computed on a device."""

    bank: Bank
    device: torch.device

    @property
    def features(self) -> Vectors:
        """(M, D)."""
        return self.bank.features

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean and covariance."""
        return self.bank.gaussian(self.device)

    @cached_property
    def moments(self) -> Moments | None:
        """Sums over KID's kernel among the real images in float64; None where they are too many for all pairs."""
        if len(self.features) > ALL_PAIRS:
            return None

        def compute() -> dict[str, Tensor]:
            found = within_moments(self.features, Cubic(), self.features[0:1].to(self.device).double())
            return {"rows": found.rows, "squares": found.squares}

        sums = self.bank.once("kid", compute, self.device)
        return Moments(sums["rows"], sums["rows"], sums["squares"])

    @cached_property
    def own_distances(self) -> Tensor:
        """Of each real image to the nearest other one, (M,) float64."""
        real, device = self.features, self.device
        found = self.bank.once(
            "neighbours", lambda: nearest(real, real, leave_one_out=True, device=device)._asdict(), device
        )
        return found["distances"][:, 0]
