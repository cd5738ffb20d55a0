"""How sure a study is of its ranking: scores with standard errors, ties, and the trials that are scored again.

A score is a mean over feature spaces, and its error is bounded by the mean of the errors there, which is reached where
the spaces err together. Two trials are compared as if their errors were independent. They start from the same noise
and meet the same real images, so they err partly together and their difference is known better than is said here. Of
how another training seed would have come out, nothing of this knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mmd_ddm.evaluation.intervals import compare_settings
from mmd_ddm.experiment.run import score
from mmd_ddm.experiment.run_folder import BASELINE
from tune.scoring.estimate import Estimate, tied
from tune.study.folder import COMPLETED, FAILED, Study, TrialRecord

FINALISTS = 3


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Order trials: the complete ones by score, then those stopped by how far they came and score, then the failed."""
    places = {COMPLETED: 0, FAILED: 2}
    return sorted(
        trials,
        key=lambda t: (places.get(t.outcome, 1), 0 if t.outcome == COMPLETED else -t.updates, t.score, t.number),
    )


def front(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials that no other beats in the score without more network evaluations, cheapest first.

    Args:
        trials: Whose searched settings hold `steps`.
    """
    whole = [trial for trial in trials if trial.outcome == COMPLETED and trial.score < float("inf")]
    found: list[TrialRecord] = []
    for trial in sorted(whole, key=lambda each: (steps_of(each), each.score, each.number)):
        if not found or trial.score < found[-1].score:
            found.append(trial)
    return found


def steps_of(trial: TrialRecord) -> int:
    """Return the network evaluations of a trial in whose study they are searched."""
    return int(trial.point["steps"] or 0)


def read_baseline(study: Study) -> dict[str, float]:
    """Return the base model's scores on the noise of the trials; none before the first trial has measured them."""
    file = study.folder / BASELINE
    found: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
    return found


def estimate(metrics: Mapping[str, float], baseline: Mapping[str, float]) -> Estimate:
    """Return the score of some KIDs, mean_s KID_s / base KID_s, with an upper bound of its standard error.

    Args:
        metrics: `kid_s` and `kid_s_stderr` in each feature space s.
        baseline: The base model's.
    """
    names = [name for name in baseline if name.startswith("kid_") and not name.endswith("_stderr")]
    errors = {name: metrics.get(f"{name}_stderr", 0.0) for name in names}
    return Estimate((score(metrics, baseline),), (score(errors, baseline),))  # the score is linear in the KIDs


def trial_estimate(trial: TrialRecord, baseline: Mapping[str, float]) -> Estimate:
    """Return a trial's last score on the noise that trials are compared on."""
    return estimate(trial.curve[-1], baseline)


def chance(one: Estimate, other: Estimate) -> float:
    """Return the probability that the first score is truly the smaller one (normal errors, taken as independent)."""
    p = compare_settings(one.values, other.values, (one.errors, other.errors)).p
    return 1 - p / 2 if one.mean <= other.mean else p / 2


def percent(probability: float) -> str:
    """Return a probability in words that never claim certainty."""
    if probability > 0.999:
        return "over 99.9 %"
    return f"{100 * probability:.{1 if probability > 0.99 else 0}f} %"


def complete(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials that have a score, the best first."""
    return [trial for trial in ranked(trials) if trial.outcome == COMPLETED and trial.score < float("inf")]


def tied_with_best(trials: Sequence[TrialRecord], baseline: Mapping[str, float]) -> list[TrialRecord]:
    """Return the best trial and those that can't be told apart from it at two-sided 5 %, the best first."""
    whole = complete(trials)
    best = [trial_estimate(trial, baseline) for trial in whole[:1]]
    return whole[:1] + [trial for trial in whole[1:] if tied(best[0], trial_estimate(trial, baseline))]


def finalists(trials: Sequence[TrialRecord], baseline: Mapping[str, float], budgets: bool = False) -> list[TrialRecord]:
    """Choose at most three trials that are scored again on fresh noise.

    Args:
        trials: All of the study's.
        baseline: The base model's scores.
        budgets: Whether the trials differ in their number of network evaluations: then the front's best scores, as
            the best trial of one budget is no rival of another's; else the best and those tied with it.
    """
    chosen = sorted(front(trials), key=lambda trial: trial.score) if budgets else tied_with_best(trials, baseline)
    return chosen[:FINALISTS]


def winner(finals: Mapping[int, Estimate], steps: Mapping[int, int]) -> int:
    """Return the finalist with the smallest score; of those tied with it, one with fewer network evaluations.

    Args:
        finals: Scores on fresh noise by trial, at least one.
        steps: Network evaluations of each.
    """
    best = min(finals, key=lambda number: (finals[number].mean, number))
    same = [number for number in finals if number == best or tied(finals[best], finals[number])]
    fewest = min(steps[number] for number in same)
    return min((n for n in same if steps[n] == fewest), key=lambda number: (finals[number].mean, number))
