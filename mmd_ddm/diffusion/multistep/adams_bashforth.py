"""iPNDM: PNDM without its Runge-Kutta start (Liu et al. 2022; Zhang & Chen 2023, Section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator

from mmd_ddm.diffusion.multistep.levels import Levels
from mmd_ddm.diffusion.multistep.terms import EPSILON, IMAGE, NOW, ONE, Row

# Adams-Bashforth for even steps: of the latest prediction, the one before it ... (Liu et al. 2022, Equation 12)
_WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def ipndm(levels: Levels, most: int = len(_WEIGHTS)) -> Iterator[Row]:
    """Go DDIM's step with the mean of up to `most` noises that Adams-Bashforth has; the first steps have fewer."""
    for k in range(len(levels)):
        weights = _WEIGHTS[min(k, most - 1)]
        mean = {NOW + i: weight * ONE for i, weight in enumerate(weights)}
        yield Row(k, levels.move(k, k + 1, {IMAGE: ONE}, mean, EPSILON))
