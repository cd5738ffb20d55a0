"""The solvers that are tables, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from mmd_ddm.diffusion.multistep.adams_bashforth import ipndm
from mmd_ddm.diffusion.multistep.deis import deis
from mmd_ddm.diffusion.multistep.dpm_solver import multistep, singlestep
from mmd_ddm.diffusion.multistep.heun import heun
from mmd_ddm.diffusion.multistep.levels import Levels
from mmd_ddm.diffusion.multistep.linear_multistep import LinearMultistep
from mmd_ddm.diffusion.multistep.terms import EPSILON, SAMPLE, Predicted, Row
from mmd_ddm.diffusion.multistep.unipc import unipc


@dataclass(frozen=True)
class Method:
    """A published solver.

    Args:
        rows: its table, given the levels of a chain.
        predicts: what its table combines, `epsilon` or `sample`.
    """

    rows: Callable[[Levels], Iterable[Row]]
    predicts: Predicted

    def solver(self, alpha_bar: Tensor) -> LinearMultistep:
        """Make the solver of a chain whose levels are (L,) float64 values of alpha_bar, in increasing order."""
        return LinearMultistep(tuple(map(_nonzero, self.rows(Levels.of(alpha_bar)))), alpha_bar, self.predicts)


def _nonzero(row: Row) -> Row:
    # to no noise nothing is kept of an image: its coefficient is exactly 0
    return Row(row.level, *({i: c for i, c in terms.items() if bool(c.detach())} for terms in (row.image, row.base)))


METHODS: Mapping[str, Method] = {
    "ipndm": Method(ipndm, EPSILON),
    "dpm-solver++-2m": Method(lambda levels: multistep(levels, 2), SAMPLE),
    "dpm-solver++-3m": Method(lambda levels: multistep(levels, 3), SAMPLE),
    "dpm-solver++-2s": Method(lambda levels: singlestep(levels, SAMPLE), SAMPLE),
    "dpm-solver-2s": Method(lambda levels: singlestep(levels, EPSILON), EPSILON),
    "unipc-2": Method(lambda levels: unipc(levels, 2), SAMPLE),
    "unipc-3": Method(lambda levels: unipc(levels, 3), SAMPLE),
    "deis-2": Method(lambda levels: deis(levels, 2), EPSILON),
    "deis-3": Method(lambda levels: deis(levels, 3), EPSILON),
    "heun-2": Method(heun, EPSILON),
}
# those whose table can be learned: DDIM is one too
LEARNABLE: Mapping[str, Method] = {"ddim": Method(lambda levels: ipndm(levels, 1), EPSILON), **METHODS}
