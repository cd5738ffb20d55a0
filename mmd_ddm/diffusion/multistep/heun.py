"""Heun's method in rho = sigma / alpha (Karras et al. 2022, Algorithm 1): two evaluations a step, one in the last."""

from __future__ import annotations

from collections.abc import Iterator

from mmd_ddm.diffusion.multistep.levels import Levels
from mmd_ddm.diffusion.multistep.terms import BASE, EPSILON, IMAGE, NOW, ONE, Row


def heun(levels: Levels) -> Iterator[Row]:
    """Go Euler's step, evaluate at its end, and go the step again with the mean of both noises; S = 2 L - 1."""
    half = 0.5 * ONE
    for k in range(len(levels)):
        yield Row(k, levels.move(k, k + 1, {IMAGE: ONE}, {NOW: ONE}, EPSILON), {IMAGE: ONE})
        if k + 1 < len(levels):
            yield Row(k + 1, levels.move(k, k + 1, {BASE: ONE}, {NOW: half, NOW + 1: half}, EPSILON))
