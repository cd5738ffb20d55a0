"""From a kernel's specification to the kernel, its bandwidths fixed on real features."""

from __future__ import annotations

import math

import torch

from mmd_ddm.discrepancy.kernels import Cubic, Energy, Gaussian, Kernel, Linear, RationalQuadratic, Scaled, Sum
from mmd_ddm.discrepancy.specification import DIM, MEDIAN, Bandwidth, KernelTerm
from mmd_ddm.discrepancy.vectors import Vectors

MEDIAN_ROWS = 2048  # pairs among this many evenly spaced real features fix the median to about 1 %


_PLAIN: dict[str, Kernel] = {"linear": Linear(), "cubic": Cubic(), "energy": Energy()}


def make_kernel(terms: tuple[KernelTerm, ...], real: Vectors) -> Kernel:
    """Build the kernel of a parsed specification on real features (M, D)."""
    built = tuple(_weighted(term, real) for term in terms)
    return built[0] if len(built) == 1 else Sum(built)


def _weighted(term: KernelTerm, real: Vectors) -> Kernel:
    kernel = _unweighted(term, real)
    return kernel if term.weight == 1 else Scaled(term.weight, kernel)


def _unweighted(term: KernelTerm, real: Vectors) -> Kernel:
    if (plain := _PLAIN.get(term.name)) is not None:
        return plain
    sigma = resolve_bandwidth(term.bandwidth or MEDIAN, real)
    return Gaussian(sigma) if term.name == "rbf" else RationalQuadratic(sigma)


def resolve_bandwidth(bandwidth: Bandwidth, real: Vectors) -> float:
    """Turn a bandwidth, as `parse_bandwidth` gives it, into a length, given features (M, D) of real images.

    * `dim`: sigma^2 = d / 2, the published code's gamma = 1 / d.
    * `median`: sigma is the median distance between two different real features (Gretton et al. 2012, Section 8).
    * `c*dim` and `c*median`: c times that length.
    """
    if not isinstance(bandwidth, str):
        return float(bandwidth)
    factor, _, unit = bandwidth.rpartition("*")
    return float(factor or 1) * _LENGTHS[unit](real)


def _dimension_length(real: Vectors) -> float:
    return math.sqrt(real[0:1].shape[1] / 2)


def _median_distance(real: Vectors) -> float:
    rows = real[torch.linspace(0, len(real) - 1, min(len(real), MEDIAN_ROWS)).long()].double()
    # numpy's median: torch.quantile refuses more than 2^24 values and torch.median takes the lower of two
    ordered = torch.nn.functional.pdist(rows).sort().values
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


_LENGTHS = {DIM: _dimension_length, MEDIAN: _median_distance}
