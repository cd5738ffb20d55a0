"""Kernels on feature vectors (paper, Section IV-E), as blocks k(x_i, y_j).

They are positive definite, or conditionally so (`Energy`): sum_ij c_i c_j k(x_i, x_j) >= 0 for all c, or for those that
sum to zero, which is all that an MMD asks for.

Conventions: d is the feature dimension; `bandwidth` is sigma in exp(-|x-y|^2 / (2 sigma^2)), a length and not its
square. A kernel's meaning depends on the scale of the features, which each feature space states.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.discrepancy.distances import distances


class Kernel(Protocol):
    """A symmetric, at least conditionally positive definite function of two feature vectors."""

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The block k(x_i, y_j)."""


@dataclass(frozen=True)
class Linear:
    """k(x, y) = x.y (paper, Section IV-E)."""

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return x @ y.T


@dataclass(frozen=True)
class Cubic:
    """k(x, y) = (x.y / d + 1)^3 (paper, Section IV-E; Binkowski et al. 2018, KID)."""

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1]) ** 3


@dataclass(frozen=True)
class Gaussian:
    """k(x, y) = exp(-|x-y|^2 / (2 sigma^2)) (paper, Section IV-E)."""

    bandwidth: float

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return torch.exp(squared_distances(x, y) / (-2 * self.bandwidth**2))


@dataclass(frozen=True)
class RationalQuadratic:
    """k(x, y) = (1 + |x-y|^2 / (2 alpha sigma^2))^-alpha (Binkowski et al. 2018, Section 4): heavy tails."""

    bandwidth: float
    alpha: float = 1.0

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return (1 + squared_distances(x, y) / (2 * self.alpha * self.bandwidth**2)) ** -self.alpha


@dataclass(frozen=True)
class Energy:
    """k(x, y) = -|x-y|: its MMD^2 is the energy distance 2 E|x-y| - E|x-x'| - E|y-y'| (Szekely & Rizzo 2013).

    Conditionally positive definite and characteristic (Sejdinovic et al. 2013, Section 4). It has no bandwidth: other
    units of the features scale the distance and nothing else.
    """

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return -distances(x, y)


@dataclass(frozen=True)
class Scaled:
    """w k with w > 0: in a sum, how much of it a term has."""

    weight: float
    kernel: Kernel

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return self.weight * self.kernel(x, y)


@dataclass(frozen=True)
class SameClass:
    """k(x, y) [c_x = c_y], the class labels c in the last column of x and y: a product of kernels is one.

    k is of the columns before. Where k is only conditionally positive definite, MMD^2 is not negative as long as both
    sides have the same shares of the classes. No gradient flows into the labels.
    """

    kernel: Kernel

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return self.kernel(x[:, :-1], y[:, :-1]) * (x[:, -1, None] == y[:, -1])


@dataclass(frozen=True)
class Sum:
    """k = k_1 + k_2 + ..., conditionally positive definite again."""

    terms: tuple[Kernel, ...]

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return reduce(torch.add, (term(x, y) for term in self.terms))


def squared_distances(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """|x_i - y_j|^2, by the inner product, since cdist's square root has no gradient at zero."""
    norms = x.square().sum(1)[:, None] + y.square().sum(1)[None, :]
    return torch.addmm(norms, x, y.T, alpha=-2).clamp(min=0)
