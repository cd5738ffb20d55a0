"""What a study's scores say, in words: improved or not, in which spaces, and where the errors allow no answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tune.leaderboard import ranked
from tune.progress import plus_minus
from tune.scores import BASE, FINETUNED, Row
from tune.study import COMPLETED, TrialRecord

BETTER, WORSE, EQUAL = "better", "worse", "no different"
CERTAIN = 2.0  # standard errors


def spaces(scores: Mapping[str, float]) -> list[str]:
    """Return the feature spaces of some scores."""
    names = [name for name in scores if name.startswith("kid_") and not name.endswith("_stderr")]
    return [name.removeprefix("kid_") for name in names]


def compare(one: Mapping[str, float], other: Mapping[str, float], space: str) -> str:
    """Say whether the first KID is better, worse or, within two standard errors of the difference, no different."""
    name = f"kid_{space}"
    error = math.hypot(one.get(f"{name}_stderr", 0), other.get(f"{name}_stderr", 0))
    change = one[name] - other[name]
    return EQUAL if abs(change) <= CERTAIN * error else BETTER if change < 0 else WORSE


def verdicts(rows: Sequence[Row], trained: str) -> list[str]:
    """Say how the finetuned model stands, a paragraph for all spaces and then one for each.

    Args:
        rows: The final scores.
        trained: Feature space of the best trial's loss.
    """
    finetuned = next((row for row in rows if row.subject.model == FINETUNED), None)
    base = [row for row in rows if row.subject.model == BASE and row.subject == _plain(row)]
    if finetuned is None or not base:
        return []
    same, *larger = sorted(base, key=lambda row: row.subject.steps)
    against = {space: compare(finetuned.scores, same.scores, space) for space in spaces(finetuned.scores)}
    ordered = sorted(against, key=lambda name: name != trained)
    lines = (_space_line(space, space == trained, finetuned, same, larger) for space in ordered)
    return [f"**{_overall(against, trained)}**", *(f"* {line}" for line in lines)]


def _plain(row: Row) -> object:
    return type(row.subject)(BASE, row.subject.steps)


def _overall(against: Mapping[str, str], trained: str) -> str:
    held_out = {space: found for space, found in against.items() if space != trained}
    behind = [f"{space} {_CHANGES[found]}" for space, found in held_out.items() if found != BETTER]
    if trained not in against:
        every = [f"{space} {_CHANGES[found]}" for space, found in held_out.items()]
        return f"The trained space, {trained}, was not measured; held out, {', '.join(every)}."
    if against[trained] != BETTER:
        return f"Finetuning did not improve the space that it trained on: {trained} {_CHANGES[against[trained]]}."
    if not held_out:
        return f"It improves in the trained space, {trained}; no other was measured, so nothing is known beyond it."
    if behind:
        return f"It improves in the trained space only: {trained} improved, but held out, {', '.join(behind)}."
    return f"It improves in the trained space, {trained}, and held out, in {', '.join(held_out)}."


_CHANGES = {BETTER: "improved", WORSE: "got worse", EQUAL: "did not change by more than its error"}


def _space_line(space: str, trained: bool, finetuned: Row, same: Row, larger: Sequence[Row]) -> str:
    steps, name = finetuned.subject.steps, f"kid_{space}"
    text = (
        f"{space} ({'trained on' if trained else 'held out'}): KID {_kid(same, name)} for the base model and "
        f"{_kid(finetuned, name)} finetuned, both with {steps} evaluations; "
    )
    budgets: dict[str, list[str]] = {}
    for row in larger:
        budgets.setdefault(compare(finetuned.scores, row.scores, space), []).append(f"with {row.subject.steps}")
    words = [f"{_AGAINST[result]} the base model {' and '.join(found)}" for result, found in budgets.items()]
    text += ", and ".join(words) if words else "no larger budget was measured"
    kid, error = finetuned.scores[name], finetuned.scores.get(f"{name}_stderr", 0)
    if kid < -CERTAIN * error:
        text += (
            ". It is below zero by more than its error: closer to the real images that it was trained on than new ones"
        )
    elif kid <= CERTAIN * error:
        text += f". With {finetuned.images} images it can't be told from the real ones here"
    return text + "."


_AGAINST = {BETTER: "better than", WORSE: "worse than", EQUAL: "within two standard errors of"}


def _kid(row: Row, name: str) -> str:
    return plus_minus(row.scores[name], row.scores.get(f"{name}_stderr"))


def tie(trials: Sequence[TrialRecord], baseline: Mapping[str, float]) -> str:
    """Say whether the errors let the first two trials be told apart; nothing if there are not two.

    The error of a score is at most the mean of its relative KIDs' errors, which is reached where the spaces err
    together; trials share their noise, so the true error of their difference is smaller than what is said.
    """
    first_two = [trial for trial in ranked(trials) if trial.outcome == COMPLETED][:2]
    if len(first_two) < 2 or not baseline:
        return ""
    one, other = first_two
    difference, error = other.score - one.score, math.hypot(*(score_error(trial, baseline) for trial in first_two))
    names = f"trials {one.number:03d} and {other.number:03d}"
    if difference <= error:
        return (
            f"The scores of the first two, {names}, differ by {difference:.2g}, which is within the standard error of "
            f"{error:.2g}: which of them is better is not known."
        )
    return f"The scores of the first two, {names}, differ by {difference:.2g}, with a standard error of {error:.2g}."


def score_error(trial: TrialRecord, baseline: Mapping[str, float]) -> float:
    """Return an upper bound of the standard error of a trial's last score."""
    last, names = trial.curve[-1], spaces(baseline)
    return sum(last.get(f"kid_{name}_stderr", 0) / abs(baseline[f"kid_{name}"]) for name in names) / len(names)
