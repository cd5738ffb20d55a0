"""Positive definite kernels on feature vectors (paper, Section IV-E), as blocks k(x_i, y_j).

Conventions: d is the feature dimension; `bandwidth` is sigma in exp(-|x-y|^2 / (2 sigma^2)), a length and not its
square. A kernel's meaning depends on the scale of the features, which each feature space states.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.errors import UserError

Bandwidth = float | str
MEDIAN_ROWS = 2048  # pairs among this many evenly spaced real features fix the median to about 1 %


class Kernel(Protocol):
    """A symmetric positive definite function of two feature vectors."""

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
class Sum:
    """k = k_1 + k_2 + ..., positive definite again."""

    terms: tuple[Kernel, ...]

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block."""
        return reduce(torch.add, (term(x, y) for term in self.terms))


def squared_distances(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """|x_i - y_j|^2, by the inner product, since cdist's square root has no gradient at zero."""
    norms = x.square().sum(1)[:, None] + y.square().sum(1)[None, :]
    return torch.addmm(norms, x, y.T, alpha=-2).clamp(min=0)


@dataclass(frozen=True)
class KernelTerm:
    """One term of a kernel's specification, before the features are known."""

    name: str
    bandwidth: Bandwidth | None = None

    def build(self, real: Vectors) -> Kernel:
        """Fix the bandwidth on real features (M, D)."""
        if self.name == "linear":
            return Linear()
        if self.name == "cubic":
            return Cubic()
        sigma = resolve_bandwidth(self.bandwidth or "median", real)
        return Gaussian(sigma) if self.name == "rbf" else RationalQuadratic(sigma)


PLAIN_KERNELS = ("linear", "cubic")
BANDWIDTH_KERNELS = ("rbf", "rational_quadratic")


def parse_kernel(specification: str, bandwidth: Bandwidth | None = None) -> tuple[KernelTerm, ...]:
    """Read a kernel's specification, for example `cubic`, `rbf:median` or `cubic+rbf:0.5+rbf:2`.

    Terms are joined by `+`: `linear`, `cubic`, `rbf` and `rational_quadratic`, the last two with `:BANDWIDTH` or
    without. `bandwidth` (see `parse_bandwidth`) is for those that do not name theirs; without it they get `median`.

    Raises:
        UserError: an unknown term, a bandwidth out of range, or one that no term uses.
    """
    terms = [_parse_term(text.strip()) for text in specification.split("+")]
    open_terms = [t for t in terms if t.name in BANDWIDTH_KERNELS and t.bandwidth is None]
    if bandwidth is not None and not open_terms:
        raise UserError(f"bandwidth is {bandwidth}, but kernel {specification!r} has no term that would use it")
    default = parse_bandwidth(bandwidth if bandwidth is not None else "median")
    return tuple(KernelTerm(t.name, default) if t in open_terms else t for t in terms)


def _parse_term(text: str) -> KernelTerm:
    name, _, width = text.partition(":")
    if name in BANDWIDTH_KERNELS:
        return KernelTerm(name, parse_bandwidth(width) if width else None)
    if name in PLAIN_KERNELS and not width:
        return KernelTerm(name)
    raise UserError(
        f"kernel term {text!r} is not known; a kernel is a sum of {', '.join(PLAIN_KERNELS)}, "
        f"{' or '.join(f'{name}[:BANDWIDTH]' for name in BANDWIDTH_KERNELS)}, as in cubic+rbf:median"
    )


def parse_bandwidth(value: Bandwidth) -> Bandwidth:
    """A bandwidth as written: `dim`, `median`, a multiple such as `0.5*median`, a positive number; or a UserError."""
    factor, _, unit = str(value).rpartition("*")
    relative = unit in BANDWIDTH_UNITS
    try:
        number = float(factor or 1) if relative else float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise UserError(
            f"bandwidth is {value!r}; it must be dim, median, a multiple such as 0.5*median, or a positive number"
        )
    return str(value) if relative else number


def resolve_bandwidth(bandwidth: Bandwidth, real: Vectors) -> float:
    """Turn a bandwidth, as `parse_bandwidth` gives it, into a length, given features (M, D) of real images.

    * `dim`: sigma^2 = d / 2, the published code's gamma = 1 / d.
    * `median`: sigma is the median distance between two different real features (Gretton et al. 2012, Section 8).
    * `c*dim` and `c*median`: c times that length.
    """
    if not isinstance(bandwidth, str):
        return float(bandwidth)
    factor, _, unit = bandwidth.rpartition("*")
    return float(factor or 1) * BANDWIDTH_UNITS[unit](real)


def _dimension_length(real: Vectors) -> float:
    return math.sqrt(real[0:1].shape[1] / 2)


def _median_distance(real: Vectors) -> float:
    rows = real[torch.linspace(0, len(real) - 1, min(len(real), MEDIAN_ROWS)).long()].double()
    # numpy's median: torch.quantile refuses more than 2^24 values and torch.median takes the lower of two
    ordered = torch.nn.functional.pdist(rows).sort().values
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


BANDWIDTH_UNITS = {"dim": _dimension_length, "median": _median_distance}


def make_kernel(terms: tuple[KernelTerm, ...], real: Vectors) -> Kernel:
    """Build the kernel of a parsed specification on real features (M, D)."""
    built = tuple(term.build(real) for term in terms)
    return built[0] if len(built) == 1 else Sum(built)
