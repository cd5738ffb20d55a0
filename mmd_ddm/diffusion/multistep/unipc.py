"""UniPC (Zhao et al. 2023): each prediction first corrects the image that it was made of, at no further evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mmd_ddm.diffusion.multistep.levels import Levels
from mmd_ddm.diffusion.multistep.terms import BASE, IMAGE, NOW, ONE, SAMPLE, Row, Terms, added, scaled

_LINEAR_BELOW = 10  # steps, see `unipc`


def unipc(levels: Levels, order: int, b: str | None = None) -> Iterator[Row]:
    """UniPC of order 2 or 3, predicting x_0 (Zhao et al. 2023, Algorithms 5 and 6), as diffusers has it.

    The base is the corrected image; the image, at which the network is evaluated, the predicted one.

    Args:
        levels: of the chain.
        order: of the predictor; the corrector's is one higher.
        b: `bh1` for B(h) = h, `bh2` for e^h - 1; none: the authors' advice for unconditional models, the first below
            ten steps and the second from there on.
    """
    b = b or ("bh1" if len(levels) < _LINEAR_BELOW else "bh2")
    former = 1
    for k in range(len(levels)):
        corrected: Terms = _corrected(levels, k, former, b) if k else {IMAGE: ONE}
        former = min(order, k + 1, len(levels) - k)
        yield Row(
            k, added(levels.move(k, k + 1, corrected, {NOW: ONE}, SAMPLE), _extra(levels, k, former, b)), corrected
        )


def _extra(levels: Levels, k: int, order: int, b: str) -> Terms:
    """What a prediction of higher order adds to DDIM's step from level k."""
    if order == 1:
        return {}
    lam, h = levels.lam, levels.lam[k + 1] - levels.lam[k]
    ratios = [(lam[k - i] - lam[k]) / h for i in range(1, order)]
    scale, right = _moments(h, order, b)
    weights = [0.5 * ONE] if order == 2 else _solved(ratios, right[:-1])  # the order 2 simplified, as published
    slopes = [_slope(i, 0, w / ratio) for i, (w, ratio) in enumerate(zip(weights, ratios, strict=True), 1)]
    return scaled(-levels.alpha[k + 1] * scale, added(*slopes))


def _corrected(levels: Levels, k: int, order: int, b: str) -> Terms:
    """The step from level k-1 to k once more, with the prediction at its end."""
    lam, h = levels.lam, levels.lam[k] - levels.lam[k - 1]
    ratios = [*((lam[k - 1 - i] - lam[k - 1]) / h for i in range(1, order)), ONE]
    scale, right = _moments(h, order, b)
    weights = [0.5 * ONE] if order == 1 else _solved(ratios, right)
    slopes = [_slope(1 + i, 1, w / ratio) for i, (w, ratio) in enumerate(zip(weights[:-1], ratios, strict=False), 1)]
    slopes.append(_slope(0, 1, weights[-1]))
    plain = levels.move(k - 1, k, {BASE: ONE}, {NOW + 1: ONE}, SAMPLE)
    return added(plain, scaled(-levels.alpha[k] * scale, added(*slopes)))


def _slope(end: int, start: int, factor: Tensor) -> Terms:
    return {NOW + end: factor, NOW + start: -factor}


def _moments(h: Tensor, order: int, b: str) -> tuple[Tensor, list[Tensor]]:
    """B(-h), and n! phi_{n+1}(-h) (-h) / B(-h), n = 1 ... order, as in the matching conditions (Theorem 3.1)."""
    scale = -h if b == "bh1" else torch.expm1(-h)
    phi, found = torch.expm1(-h) / -h - 1, []
    for n in range(1, order + 1):
        found.append(phi * math.factorial(n) / scale)
        phi = phi / -h - 1 / math.factorial(n + 1)
    return scale, found


def _solved(ratios: list[Tensor], right: list[Tensor]) -> list[Tensor]:
    """Weights w with sum_i w_i r_i^n = right_n, n = 0, 1 ..."""
    powers = torch.stack([torch.stack(ratios) ** n for n in range(len(right))])
    return list(torch.linalg.solve(powers, torch.stack(right)).unbind())
