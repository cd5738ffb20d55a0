"""How much faster: the base model's number of network evaluations with the finetuned model's KID, in every space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmd_ddm.evaluation.verdict import CERTAIN, Score
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.scoring.final_scores import beside_base, kid_scores, plain_base


@dataclass(frozen=True)
class EquivalentBudget:
    """The base model's budget of the same KID, interpolated, and how small and large it could be by the errors.

    Infinite where it lies beyond the largest budget that was measured, 0 where the finetuned model scores worse than
    the base model at the smallest.
    """

    steps: float
    low: float
    high: float


def equivalent_budgets(rows: Sequence[Scored], trial: int) -> dict[str, EquivalentBudget]:
    """Find the equivalent budgets of a trial in each feature space, the smallest first; none without final scores."""
    if (pair := beside_base(rows, trial)) is None:
        return {}
    finetuned = kid_scores(pair[1])
    base = [(steps, kid_scores(row)) for steps, row in plain_base(rows).items()]
    found = {space: equivalent_budget(kid, [(n, kids[space]) for n, kids in base]) for space, kid in finetuned.items()}
    return dict(sorted(found.items(), key=lambda item: (item[1].steps, item[1].low)))


def equivalent_budget(finetuned: Score, base: Sequence[tuple[int, Score]]) -> EquivalentBudget:
    """Find where the base model's KID falls to the finetuned one's, linear in the logarithm of the budget.

    The ends are where two standard errors of the difference, taken as independent, still allow a crossing.
    """
    points = sorted(base, key=lambda point: point[0])
    gaps = [(steps, each.value - finetuned.value) for steps, each in points]
    spans = [CERTAIN * math.hypot(finetuned.standard_error or 0, each.standard_error or 0) for _, each in points]
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


def faster(found: Mapping[str, EquivalentBudget], steps: int, largest: int) -> str:
    """Say what holds in every space, which is what holds in the one with the smallest equivalent budget.

    Args:
        found: As of `equivalent_budgets`, at least one.
        steps: Network evaluations of the finetuned model.
        largest: The base model's largest budget that was measured.
    """
    if largest <= steps:
        return f"No larger budget of the base model than {largest} was measured."
    space, least = next(iter(found.items()))
    if least.steps == 0:
        return (
            f"In {space} features the base model has the better KID with its smallest budget that was measured: "
            "finetuning made it no faster."
        )
    if math.isinf(least.steps):
        low = min(each.low for each in found.values())
        doubt = "" if math.isinf(low) or low <= steps else f"; by the errors, {low:.0f} could do"
        return (
            f"With {steps} evaluations its KID is better in every space than the base model's with {largest}, the "
            f"largest budget that was measured: at least {times(largest, steps)} times fewer evaluations for the same "
            f"KID{doubt}."
        )
    span = f"{_bound(least.low, largest)} to {_bound(least.high, largest)}"
    fewer = f"{times(least.steps, steps)} times fewer evaluations for the same KID, in every space"
    return (
        f"With {steps} evaluations its KID is, in {space} features, where it gains least, that of the base model with "
        f"about {least.steps:.0f} (interpolated; {span} by the errors): "
        f"{fewer if least.steps > steps else 'finetuning made it no faster'}."
    )


def budget_rows(found: Mapping[str, EquivalentBudget], largest: int) -> list[tuple[str, str, str]]:
    """Return, of each space, the base model's budget of the same KID and its range by the errors."""
    return [
        (space, _bound(each.steps, largest), f"{_bound(each.low, largest)} to {_bound(each.high, largest)}")
        for space, each in found.items()
    ]


def times(one: float, other: float) -> str:
    """Return how many times as large one number is as another, to two digits."""
    return f"{one / other:.2g}"


def _bound(steps: float, largest: int) -> str:
    return f"beyond {largest}" if math.isinf(steps) else "fewer than measured" if steps == 0 else f"{steps:.0f}"
