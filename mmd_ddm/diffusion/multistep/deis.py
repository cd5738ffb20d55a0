"""DEIS (Zhang & Chen 2023): the noises seen so far are interpolated in log rho, rho = sigma / alpha (tAB)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmd_ddm.diffusion.multistep.levels import Levels
from mmd_ddm.diffusion.multistep.terms import IMAGE, NOW, ONE, Row, added


def deis(levels: Levels, order: int) -> Iterator[Row]:
    """tAB-DEIS of order 2 or 3 (Zhang & Chen 2023, Equation 15) with rho as time and polynomials in log rho.

    x' / alpha' = x / alpha + sum_j m_j times the integral of the j-th Lagrange polynomial from rho to rho'. At the end
    rho' = 0, where the integrals are finite.
    """
    for k in range(len(levels)):
        after = levels.alpha[k + 1]
        weights = _integrals(levels, k, levels.order(k, order))
        yield Row(k, added({IMAGE: after / levels.alpha[k]}, {NOW + j: after * w for j, w in enumerate(weights)}))


def _integrals(levels: Levels, k: int, order: int) -> list[Tensor]:
    # in v = log(rho / rho_k), of which the nodes are differences of -lambda
    nodes = [levels.lam[k] - levels.lam[k - j] for j in range(order)]
    rho = levels.sigma[k] / levels.alpha[k]
    moments = [rho * moment for moment in _moments(levels, k, order)]
    return [
        sum((c * moment for c, moment in zip(_lagrange(nodes, j), moments, strict=True)), 0 * ONE) for j in range(order)
    ]


def _moments(levels: Levels, k: int, count: int) -> list[Tensor]:
    """The integrals of v^n e^v from 0 to v' for n = 0 ... count-1: each is v'^n e^v' - n times the one before."""
    last = k + 1 == len(levels)  # v' is minus infinity
    v = 0 * ONE if last else levels.lam[k] - levels.lam[k + 1]
    found = [-ONE if last else torch.expm1(v)]
    for n in range(1, count):
        found.append((0 * ONE if last else v**n * v.exp()) - n * found[-1])
    return found


def _lagrange(nodes: list[Tensor], j: int) -> list[Tensor]:
    """Coefficients, the constant first, of the polynomial that is 1 at node j and 0 at the others."""
    found = [ONE]
    for i, node in enumerate(nodes):
        if i != j:
            scale = 1 / (nodes[j] - node)
            raised, lowered = [0 * ONE, *found], [*(-node * c for c in found), 0 * ONE]
            found = [scale * (a + b) for a, b in zip(raised, lowered, strict=True)]
    return found
