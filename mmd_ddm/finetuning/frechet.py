"""The Frechet distance as the loss: what FID measures, of a batch in place of thousands of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.discrepancy.frechet import RealMoments, distance_and_gradient
from mmd_ddm.finetuning.objective import ValueAndGradient, first_row


@dataclass(frozen=True)
class FrechetObjective:
    """sum_i w_i d_i^2 over feature spaces side by side, d_i^2 the Frechet distance of all workers' features.

    A batch's moments are no sums that workers could share in, so that each computes the whole from all features.
    """

    real: Sequence[RealMoments]  # of the whole bank, by space
    weights: Sequence[float]
    collective: Collective

    def __call__(self, features: Float[Tensor, "n D"], update: int) -> ValueAndGradient:
        """The loss of this worker's n generated features and all others', together at least 2; alike in each update."""
        everyone = self.collective.gather_rows(features.detach())
        offset = first_row(len(features), self.collective, features.device)
        parts = everyone.split([len(each.mean) for each in self.real], dim=1)
        found = [distance_and_gradient(part, real) for part, real in zip(parts, self.real, strict=True)]
        value = sum(weight * distance for weight, (distance, _) in zip(self.weights, found, strict=True))
        gradient = torch.cat([weight * each for weight, (_, each) in zip(self.weights, found, strict=True)], dim=1)
        mine = gradient[offset : offset + len(features)].to(features.dtype)
        return ValueAndGradient(torch.as_tensor(value), mine)
