"""What a study's scores say, in words: improved or not, in which spaces, how sure, and where errors allow no answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mmd_ddm.evaluation.metrics import Metrics, kids
from mmd_ddm.evaluation.verdict import CERTAIN, Change, change, verdict
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.report.render import joined, plural
from tune.scoring.estimate import Estimate, tied
from tune.scoring.final_scores import beside_base, kid_scores, plain_base
from tune.scoring.ranking import complete, percent, probability_better, tied_with_best, trial_estimate
from tune.study.folder import Trial
from tune.study.format import plus_minus


def verdicts(rows: Sequence[Scored], trial: int, trained: Collection[str]) -> list[str]:
    """Say how a finetuned model stands, a paragraph for all spaces and then one for each.

    Args:
        rows: The final scores.
        trial: Whose model.
        trained: Feature spaces of its loss.
    """
    if (pair := beside_base(rows, trial)) is None:
        return []
    same, finetuned = pair
    larger = [row for steps, row in plain_base(rows).items() if steps > same.nfe]
    ordered = sorted(kids(finetuned.metrics), key=lambda name: name not in trained)
    overall = verdict(kid_scores(same), kid_scores(finetuned), trained)
    return [overall, *(_space_line(space, space in trained, finetuned, same, larger) for space in ordered)]


def _space_line(space: str, trained: bool, finetuned: Scored, same: Scored, larger: Sequence[Scored]) -> str:
    steps, found = same.nfe, kid_scores(finetuned)[space]
    text = (
        f"{space} ({'trained on' if trained else 'held out'}): KID {plus_minus(*kid_scores(same)[space])} for the base "
        f"model and {plus_minus(*found)} finetuned, both with {plural(steps, 'evaluation')}; "
    )
    budgets: dict[Change, list[str]] = {}
    for row in larger:
        budgets.setdefault(change(kid_scores(row)[space], found), []).append(str(row.nfe))
    words = [f"{_AGAINST[result]} the base model with {joined(larger)}" for result, larger in budgets.items()]
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


def score_text(score: Estimate) -> str:
    """Return a score with its standard error."""
    return plus_minus(score.mean, score.errors[0])


def sureness(trials: Sequence[Trial], baseline: Metrics, finals: Mapping[int, Estimate], best: int) -> list[str]:
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
        f"with a probability of {percent(probability_better(one, other))}."
    ]
    same = [trial.number for trial in tied_with_best(trials, baseline)]
    said.append(
        f"It can't be told apart from {_names(same[1:])} at two-sided 5 %."
        if len(same) > 1
        else "No other complete trial is tied with it at two-sided 5 %."
    )
    if best in finals and len(finals) > 1:
        said.append(_final_sentence(finals, best))
    return said


def _final_sentence(finals: Mapping[int, Estimate], best: int) -> str:
    others = sorted((number for number in finals if number != best), key=lambda number: finals[number].mean)
    scores = ", ".join(f"{n:03d} {score_text(finals[n])}" for n in (best, *others))
    first, *further = [(_name(n), percent(probability_better(finals[best], finals[n]))) for n in others]
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
    return f"trial{'' if len(numbers) == 1 else 's'} {joined(f'{number:03d}' for number in numbers)}"
