"""How much faster: the base model's number of network evaluations that scores as the finetuned model does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tune.scoring.estimate import Estimate

CERTAIN = 2.0  # standard errors


@dataclass(frozen=True)
class EquivalentBudget:
    """The base model's budget of the same score, interpolated, and how small and large it could be by the errors.

    Infinite where it lies beyond the largest budget that was measured, 0 where the finetuned model scores worse than
    the base model at the smallest.
    """

    steps: float
    low: float
    high: float


def equivalent_budget(finetuned: Estimate, base: Sequence[tuple[int, Estimate]]) -> EquivalentBudget:
    """Find where the base model's score falls to the finetuned one's, linear in the logarithm of the budget.

    The ends are where two standard errors of the difference, taken as independent, still allow a crossing.
    """
    points = sorted(base, key=lambda point: point[0])
    gaps = [(steps, each.mean - finetuned.mean) for steps, each in points]
    spans = [CERTAIN * math.hypot(finetuned.errors[0], each.errors[0]) for _, each in points]
    low, high = ([(s, gap + sign * span) for (s, gap), span in zip(gaps, spans, strict=True)] for sign in (-1, 1))
    return EquivalentBudget(_crossing(gaps), _crossing(low), _crossing(high))


def _crossing(gaps: Sequence[tuple[int, float]]) -> float:
    """Where a gap first falls to zero; 0: it is below from the start; infinite: it never does."""
    before, at = gaps[0]
    if at <= 0:
        return float(before) if at == 0 else 0.0
    for steps, gap in gaps[1:]:
        if gap <= 0:
            share = at / (at - gap)
            return math.exp(math.log(before) + share * math.log(steps / before))
        before, at = steps, gap
    return math.inf


def faster(found: EquivalentBudget, steps: int, largest: int) -> str:
    """Say it of a finetuned model of so many steps, and the base model's largest budget that was measured."""
    if largest <= steps:
        return f"No larger budget of the base model than {largest} was measured."
    if found.steps == 0:
        return "The base model scores better with its smallest budget that was measured: finetuning made it no faster."
    if math.isinf(found.steps):
        least = "" if math.isinf(found.low) or found.low <= steps else f"; by the errors, {found.low:.0f} could do"
        return (
            f"With {steps} evaluations it scores better than the base model with {largest}, the largest budget that "
            f"was measured: at least {_times(largest, steps)} times fewer evaluations for the same score{least}."
        )
    span = f"{_bound(found.low, largest)} to {_bound(found.high, largest)}"
    fewer = f"{_times(found.steps, steps)} times fewer evaluations for the same score"
    return (
        f"With {steps} evaluations it scores as the base model does with about {found.steps:.0f} (interpolated; "
        f"{span} by the errors): {fewer if found.steps > steps else 'finetuning made it no faster'}."
    )


def _times(one: float, other: float) -> str:
    return f"{one / other:.2g}"


def _bound(steps: float, largest: int) -> str:
    return f"beyond {largest}" if math.isinf(steps) else "fewer than measured" if steps == 0 else f"{steps:.0f}"
