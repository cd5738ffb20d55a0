"""The one solver that every table of coefficients drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.chain import State
from mmd_ddm.diffusion.denoiser import Prediction
from mmd_ddm.diffusion.multistep.terms import BASE, IMAGE, NOW, SAMPLE, Predicted, Row, Terms


@dataclass(frozen=True)
class LinearMultistep:
    """A deterministic solver whose next image is a linear combination of images and predictions.

    With m_k the k-th prediction, of epsilon or of x_0 = (x - sigma epsilon) / alpha:
    x' = c_0 x + c_1 b + c_2 m_k + c_3 m_{k-1} + ..., and likewise for the base b'.

    Args:
        rows: one for each of the S evaluations, in their order.
        alpha_bar: (L,) float64, of the levels at which the network is evaluated.
        predicts: what is combined, `epsilon` or `sample`.
    """

    rows: Sequence[Row]
    alpha_bar: Tensor
    predicts: Predicted

    @property
    def stochastic(self) -> bool:
        """Never: no step is given noise."""
        return False

    @property
    def carried(self) -> int:
        """How many tensors each step adds to what moves along the chain, at most."""
        based = any(BASE in row.image or any(i != IMAGE for i in row.base) for row in self.rows)
        return 1 + based + any(kept > 0 for _, kept in self.remembered)

    @cached_property
    def remembered(self) -> tuple[tuple[bool, int], ...]:
        """After each evaluation, whether the base and how many predictions are needed by later ones."""
        found, used = [(False, 0)], dict[int, set[int]]()  # what is used by each row, from the last one on
        for k in range(len(self.rows) - 1, 0, -1):
            used[k] = {*self.rows[k].image, *(self.rows[k].base if found[-1][0] else ())}
            reach = (i - NOW - (j - k) for j, terms in used.items() for i in terms)
            found.append((BASE in used[k], max(0, *reach)))
        return tuple(found[::-1])

    def step(self, state: State, predicted: Prediction, k: int, noise: Float[Tensor, "N C H W"] | None) -> State:
        """Make of the k-th evaluation the next image; the last one ends at alpha_bar = 1."""
        row, (based, kept) = self.rows[k], self.remembered[k]
        now = predicted.epsilon
        if self.predicts == SAMPLE:
            alpha_bar = _scalar(self.alpha_bar[row.level])
            now = (state.image - (1 - alpha_bar) ** 0.5 * now) / alpha_bar**0.5
        seen = (state.image, state.image if state.base is None else state.base, now, *state.history)
        image = _combined(row.image, seen)
        return State(image, _combined(row.base, seen) if based else None, (now, *state.history)[:kept])


def _combined(terms: Terms, seen: Sequence[Tensor]) -> Tensor:
    parts = [_times(_scalar(coefficient), seen[i]) for i, coefficient in terms.items()]
    return sum(parts[1:], parts[0])


def _times(coefficient: Tensor | float, seen: Tensor) -> Tensor:
    # an image that is kept as it is takes no memory of its own
    return seen if isinstance(coefficient, float) and coefficient == 1 else coefficient * seen


def _scalar(value: Tensor) -> Tensor | float:
    return value if value.requires_grad else value.item()
