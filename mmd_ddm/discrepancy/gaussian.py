"""Mean and covariance of features, in float64: all that a Frechet distance sees of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.discrepancy.vectors import Vectors

PIECE = 1024  # rows in float64 at a time
PANEL = 256  # columns at a time of the matrix of squares, of which only the upper half is computed
ROUNDING = 32  # eigenvalues below as many machine epsilons of the largest one are rounding errors of a zero


class Gaussian(NamedTuple):
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: Tensor
    covariance: Tensor


def fit(features: Vectors, device: torch.device | None = None) -> Gaussian:
    """Mean and unbiased covariance of features (N, D), N at least 2, in float64 on a device (None: the features' own).

    Pieces add to sums of x - o and of (x - o)(x - o)^T, o the mean of the first piece (Chan, Golub & LeVeque 1983):
    features far from zero lose no digits, and the size of the pieces changes nothing beyond rounding.
    """
    count, origin = len(features), features[0:PIECE].to(device, torch.float64).mean(0)
    total, squares = torch.zeros_like(origin), origin.new_zeros(len(origin), len(origin))
    for start in range(0, count, PIECE):
        rows = features[start : start + PIECE].to(device, torch.float64) - origin
        total += rows.sum(0)
        for left in range(0, len(origin), PANEL):
            squares[left : left + PANEL, left:].addmm_(rows[:, left : left + PANEL].T, rows[:, left:])
    upper = torch.addr(squares, total, total, alpha=-1 / count).triu_() / (count - 1)
    return Gaussian(origin + total / count, upper + upper.triu(1).T)


def factor(covariance: Tensor) -> Tensor:
    """A (D, r) with A A^T the covariance: Cholesky's, which is fast, or of its numerical rank where that is below D."""
    rounding = ROUNDING * torch.finfo(covariance.dtype).eps
    lower: Tensor
    lower, failed = torch.linalg.cholesky_ex(covariance)
    pivots = lower.diagonal().square()
    if not failed and bool(pivots.min() > len(pivots) * rounding * pivots.max()):
        return lower
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > rounding * values[-1]
    return torch.mul(vectors[:, kept], values[kept].sqrt())
