"""DPM-Solver (Lu et al. 2022) and DPM-Solver++ (Lu et al. 2023): Taylor expansions in lambda = log(alpha / sigma).

The last step, to lambda = infinity, is of first order: the image becomes the predicted x_0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mmd_ddm.diffusion.multistep.levels import Levels
from mmd_ddm.diffusion.multistep.terms import (
    BASE,
    IMAGE,
    NOW,
    ONE,
    SAMPLE,
    Predicted,
    Row,
    Terms,
    added,
    scaled,
)


def multistep(levels: Levels, order: int) -> Iterator[Row]:
    """DPM-Solver++(2M) and (3M), for `order` 2 and 3, as diffusers has them (Lu et al. 2023, Algorithm 2)."""
    for k in range(len(levels)):
        most = levels.order(k, order) if k + 1 < len(levels) else 1
        yield Row(k, (_first, _second, _third)[most - 1](levels, k))


def _difference(lam: Tensor, h: Tensor, i: int, k: int) -> Terms:
    """(m_{k-i} - m_{k-i-1}) / r, r = (lambda_{k-i} - lambda_{k-i-1}) / h: a slope times the step's length."""
    inverse = h / (lam[k - i] - lam[k - i - 1])
    return {NOW + i: inverse, NOW + i + 1: -inverse}


def _first(levels: Levels, k: int) -> Terms:
    return levels.move(k, k + 1, {IMAGE: ONE}, {NOW: ONE}, SAMPLE)


def _second(levels: Levels, k: int) -> Terms:
    h = levels.lam[k + 1] - levels.lam[k]
    mean = added({NOW: ONE}, scaled(0.5 * ONE, _difference(levels.lam, h, 0, k)))
    return levels.move(k, k + 1, {IMAGE: ONE}, mean, SAMPLE)


def _third(levels: Levels, k: int) -> Terms:
    lam, h = levels.lam, levels.lam[k + 1] - levels.lam[k]
    late, early = _difference(lam, h, 0, k), _difference(lam, h, 1, k)
    r0, r1 = (lam[k] - lam[k - 1]) / h, (lam[k - 1] - lam[k - 2]) / h
    change = added(late, scaled(-ONE, early))
    slope = added(late, scaled(r0 / (r0 + r1), change))
    curvature = scaled(1 / (r0 + r1), change)
    after, decay = levels.alpha[k + 1], torch.expm1(-h)
    return added(
        _first(levels, k),
        scaled(after * (decay / h + 1), slope),
        scaled(-after * ((decay + h) / h**2 - 0.5), curvature),
    )


def singlestep(levels: Levels, kind: Predicted) -> Iterator[Row]:
    """DPM-Solver-2 (`epsilon`) and DPM-Solver++(2S) (`sample`): every second level is an intermediate one.

    Lu et al. 2022, Algorithm 1, and 2023, Algorithm 1, with r_1 as the levels have it; the last step, or the last two
    of an even number, are of first order.
    """
    pairs = (len(levels) - 1) // 2
    for k in range(len(levels)):
        if k < 2 * pairs and k % 2:
            yield Row(k, _from_base(levels, k, kind))
        else:
            yield Row(k, levels.move(k, k + 1, {IMAGE: ONE}, {NOW: ONE}, kind), {IMAGE: ONE})


def _from_base(levels: Levels, k: int, kind: Predicted) -> Terms:
    lam = levels.lam
    half = 0.5 * (lam[k + 1] - lam[k - 1]) / (lam[k] - lam[k - 1])
    return levels.move(k - 1, k + 1, {BASE: ONE}, {NOW: half, NOW + 1: 1 - half}, kind)
