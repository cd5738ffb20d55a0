"""The loss as a function of the generated features: its value and its gradient on them; here MMD^2 (paper, Equation 7).

Another loss is in `frechet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import Collective, share
from mmd_ddm.discrepancy.kernels import Kernel
from mmd_ddm.discrepancy.mmd import sum_and_gradient, within_mean


class ValueAndGradient(NamedTuple):
    """The loss of all workers' features (a float64 scalar) and its gradient on this worker's (n, D)."""

    value: Tensor
    gradient: Tensor


class Loss(Protocol):
    """The loss as a function of this worker's features (n, D) in an update."""

    def __call__(self, features: Float[Tensor, "n D"], update: int) -> ValueAndGradient:
        """The value over all workers' features, and the gradient on this worker's."""


class Real(NamedTuple):
    """The real side of an update: this worker's features (M_r, D), how many all workers have, the mean among all."""

    shard: Tensor
    total: int
    within_mean: Tensor


class Reference(Protocol):
    """The real side of the loss."""

    def at(self, update: int) -> Real:
        """What generated features are attracted to in an update."""


class BankReference:
    """All real features of the bank in every update.

    `like` has the precision and device of the generated features; the shard stays in the bank's precision.
    """

    def __init__(self, bank: Bank, kernel: Kernel, collective: Collective, like: Tensor) -> None:
        within = bank.within_mean(kernel, collective, like)
        self._fixed = Real(bank.shard(collective, like.device), len(bank), within)

    def at(self, update: int) -> Real:
        """The same for each update."""
        return self._fixed


class BatchReference:
    """A fresh batch of real images per update, drawn without replacement (paper, Section III-B).

    Their features are rows of the bank: the feature network is frozen, so embedding them again would give the same.
    `like` has the precision and device of the generated features; the size of a batch is that over all workers.
    """

    def __init__(
        self, bank: Bank, kernel: Kernel, collective: Collective, like: Tensor, *, size: int, seed: int
    ) -> None:
        self._bank, self._kernel, self._collective, self._like = bank, kernel, collective, like
        self._size = min(size, len(bank))
        self._source = NoiseSource(seed, "real batch")

    def at(self, update: int) -> Real:
        """The batch depends on seed and update alone."""
        chosen = torch.randperm(len(self._bank), generator=self._source.generator(update))[: self._size]
        batch = self._bank.features[chosen].to(self._like)
        mine = share(len(batch), self._collective)
        return Real(batch[mine.start : mine.stop], len(batch), within_mean(batch, self._kernel))


@dataclass(frozen=True)
class Objective:
    """The unbiased MMD^2 of all workers' features to the reference.

    Each worker computes the repulsion of its own rows from all generated features and the attraction of all generated
    features to its shard of the reference; one sum over workers of an (N, D) gradient completes both.
    """

    kernel: Kernel
    reference: Reference
    collective: Collective

    def __call__(self, features: Float[Tensor, "n D"], update: int) -> ValueAndGradient:
        """The loss of this worker's n generated features and all others', together at least 2, in an update."""
        everyone = self.collective.gather_rows(features.detach())
        offset = first_row(len(features), self.collective, features.device)
        mine = slice(offset, offset + len(features))
        real = self.reference.at(update)
        n, m = len(everyone), real.total

        # each unordered pair stands in the rows of both of its ends, and k is symmetric: twice the rows' own gradient
        near, push = sum_and_gradient(everyone[mine], everyone, self.kernel, skip=offset)
        far, pull = sum_and_gradient(everyone, real.shard, self.kernel)
        gradient = pull * (-2 / (n * m))
        gradient[mine] += push * (2 / (n * (n - 1)))
        value = near / (n * (n - 1)) - 2 * far / (n * m)

        self.collective.sum_(gradient)
        return ValueAndGradient(self.collective.sum_(value) + real.within_mean, gradient[mine])


def first_row(count: int, collective: Collective, device: torch.device) -> int:
    """Where the `count` rows of this worker begin among those that are gathered from all."""
    if collective.world == 1:  # without waiting for a GPU
        return 0
    counts = collective.gather_rows(torch.tensor([count], device=device))
    return int(counts[: collective.rank].sum())
