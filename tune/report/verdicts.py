"""What a study's scores say, in words: improved or not, in which spaces, how sure, and where errors allow no answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mmd_ddm.evaluation.verdict import CERTAIN, Change, Score, change, verdict
from tune.scoring.estimate import Estimate, tied
from tune.scoring.final_scores import BASE, FINETUNED, Row, Subject
from tune.scoring.ranking import chance, complete, percent, tied_with_best, trial_estimate
from tune.study.console import plus_minus
from tune.study.folder import TrialRecord


def spaces(scores: Mapping[str, float]) -> list[str]:
    """Return the feature spaces of some scores."""
    names = [name for name in scores if name.startswith("kid_") and not name.endswith("_stderr")]
    return [name.removeprefix("kid_") for name in names]


def verdicts(rows: Sequence[Row], trial: int, trained: Collection[str]) -> list[str]:
    """Say how a finetuned model stands, a paragraph for all spaces and then one for each.

    Args:
        rows: The final scores.
        trial: Whose model.
        trained: Feature spaces of its loss.
    """
    finetuned = next((row for row in rows if row.subject.model == FINETUNED and row.subject.trial == trial), None)
    base = {row.subject.steps: row for row in rows if row.subject == Subject(BASE, row.subject.steps)}
    if finetuned is None or finetuned.subject.steps not in base:
        return []
    same = base[finetuned.subject.steps]
    larger = [row for steps, row in sorted(base.items()) if steps > same.subject.steps]
    ordered = sorted(spaces(finetuned.scores), key=lambda name: name not in trained)
    overall = verdict(_kids(same), _kids(finetuned), trained)
    return [overall, *(_space_line(space, space in trained, finetuned, same, larger) for space in ordered)]


def _kids(row: Row) -> dict[str, Score]:
    return {space: _kid(row, space) for space in spaces(row.scores)}


def _kid(row: Row, space: str) -> Score:
    return Score(row.scores[f"kid_{space}"], row.scores.get(f"kid_{space}_stderr"))


def _space_line(space: str, trained: bool, finetuned: Row, same: Row, larger: Sequence[Row]) -> str:
    steps, found = finetuned.subject.steps, _kid(finetuned, space)
    text = (
        f"{space} ({'trained on' if trained else 'held out'}): KID {plus_minus(*_kid(same, space))} for the base model "
        f"and {plus_minus(*found)} finetuned, both with {steps} evaluations; "
    )
    budgets: dict[Change, list[str]] = {}
    for row in larger:
        budgets.setdefault(change(_kid(row, space), found), []).append(f"with {row.subject.steps}")
    words = [f"{_AGAINST[result]} the base model {' and '.join(with_)}" for result, with_ in budgets.items()]
    text += ", and ".join(words) if words else "no larger budget was measured"
    error = found.standard_error or 0
    if found.value < -CERTAIN * error:
        text += (
            ". It is below zero by more than its error: closer to the real images that it was trained on than new ones"
        )
    elif found.value <= CERTAIN * error:
        text += f". With {finetuned.images} images it can't be told from the real ones here"
    return text + "."


_AGAINST = {
    Change.BETTER: "better than",
    Change.WORSE: "worse than",
    Change.UNDECIDED: "within two standard errors of",
}


def sureness(
    trials: Sequence[TrialRecord], baseline: Mapping[str, float], finals: Mapping[int, Estimate], best: int
) -> list[str]:
    """Say how sure the ranking is, a sentence each; nothing without two complete trials and the base model's scores.

    Args:
        trials: All of the study's.
        baseline: The base model's scores on the noise of the trials.
        finals: Scores on fresh noise of those that were scored again, by number.
        best: The winner.
    """
    first_two = complete(trials)[:2]
    if len(first_two) < 2 or not baseline:
        return []
    one, other = (trial_estimate(trial, baseline) for trial in first_two)
    names = [_name(trial.number) for trial in first_two]
    said = [
        f"On the noise of the trials, {names[0]} leads {names[1]} by {other.mean - one.mean:.2g}, and is truly better "
        f"with a probability of {percent(chance(one, other))}."
    ]
    same = [trial.number for trial in tied_with_best(trials, baseline)]
    said.append(
        f"It can't be told apart from {_names(same[1:])} at two-sided 5 %."
        if len(same) > 1
        else "No other complete trial is tied with it at two-sided 5 %."
    )
    if best in finals and len(finals) > 1:
        said.append(_final_sentence(finals, best))
    return [*said, _CAVEAT]


_CAVEAT = (
    "The errors are those of the generated and real images, taken as independent. All trials share their noise and "
    "their real images, so differences are known better than this says. Another training seed may change more than "
    "these errors; python tune/ablate.py with several seeds tells."
)


def _final_sentence(finals: Mapping[int, Estimate], best: int) -> str:
    others = sorted((number for number in finals if number != best), key=lambda number: finals[number].mean)
    scores = ", ".join(f"{n:03d} {plus_minus(finals[n].mean, finals[n].errors[0])}" for n in (best, *others))
    first, *further = [(_name(n), percent(chance(finals[best], finals[n]))) for n in others]
    parts = [f"{first[0]} with a probability of {first[1]}", *(f"than {name} with {sure}" for name, sure in further)]
    same = [number for number in others if tied(finals[best], finals[number])]
    ending = f"; {_names(same)} {'is' if len(same) == 1 else 'are'} tied with it" if same else ""
    return (
        f"On fresh noise, which no trial was chosen by, the scores are {scores}: {_name(best)} wins. It is better than "
        f"{' and '.join(parts)}{ending}. To win among {len(finals)} flatters a score a little."
    )


def _name(number: int) -> str:
    return f"trial {number:03d}"


def _names(numbers: Sequence[int]) -> str:
    *most, last = [f"{number:03d}" for number in numbers]
    return f"trials {', '.join(most)} and {last}" if most else f"trial {last}"
