"""Mean and covariance of features that arrive batch by batch, on any number of workers."""

from __future__ import annotations

import torch
from torch import Tensor

from mmd_ddm.discrepancy.collective import Collective

PANEL = 256  # columns at a time of the matrix of squares, of which only the upper half is computed


class FeatureMoments:
    """Count, mean and covariance of features in float64, by shifted sums (Chan, Golub & LeVeque 1983).

    Sums of x - o and of (x - o)(x - o)^T are kept, o the mean of the first batch: features far from zero lose no
    digits, and neither the size of the batches nor the number of workers changes the result beyond rounding.

    Args:
        dim: D.
        device: to compute on.
    """

    def __init__(self, dim: int, device: torch.device | None = None) -> None:
        self.count = 0
        self._origin = torch.zeros(dim, dtype=torch.float64, device=device)
        self._total = torch.zeros_like(self._origin)
        self._squares = torch.zeros(dim, dim, dtype=torch.float64, device=device)  # its upper half

    def add(self, features: Tensor) -> None:
        """Take in a batch (n, D) of any precision, n at least 0."""
        if len(features) == 0:
            return
        rows = features.to(self._origin.device, torch.float64)
        if self.count == 0:
            self._origin = rows.mean(0)
        rows = rows - self._origin
        self._total += rows.sum(0)
        for start in range(0, len(self._origin), PANEL):
            panel = slice(start, start + PANEL)
            self._squares[panel, start:].addmm_(rows[:, panel].T, rows[:, start:])
        self.count += len(rows)

    def sum_over(self, collective: Collective) -> None:
        """Take in what all workers have seen; each of them calls this once and ends with the same moments.

        Args:
            collective: the workers; one that has seen nothing takes part too.
        """
        mine, count = self.mean, torch.tensor(float(self.count), dtype=torch.float64, device=self._origin.device)
        everyone = collective.sum_(count.clone())
        mean = collective.sum_(mine * self.count) / everyone.clamp(min=1)
        scatter = self._scatter().addr_(mine - mean, mine - mean, alpha=self.count)
        self._squares = collective.sum_(scatter)
        self.count, self._origin, self._total = int(everyone), mean, torch.zeros_like(mean)

    @property
    def mean(self) -> Tensor:
        """(D,)."""
        return self._origin + self._total / max(1, self.count)

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance (D, D) of at least 2 rows, exactly symmetric."""
        upper = self._scatter().triu_() / (self.count - 1)
        return upper + upper.triu(1).T

    def _scatter(self) -> Tensor:
        """The sum of (x - mean)(x - mean)^T, its upper half."""
        return torch.addr(self._squares, self._total, self._total, alpha=-1 / max(1, self.count))
