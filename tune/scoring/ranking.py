"""The order of a study's trials and how sure it is: scores with standard errors, ties, and the trials scored again.

A score is the relative KID of the worst feature space, and its error that of the KID there. Two trials are compared as
if their errors were independent. They start from the same noise and meet the same real images, so they err partly
together and their difference is known better than is said here. Of how another training seed would have come out,
nothing of this knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmd_ddm.evaluation.intervals import compare_settings
from mmd_ddm.evaluation.metrics import Metrics, read_metrics
from mmd_ddm.evaluation.verdict import Standing
from mmd_ddm.experiment.scoring.scored_model import ADVICE, relative_error, relative_score
from mmd_ddm.records import read_record
from tune.scoring.estimate import Estimate, tied
from tune.study.folder import Outcome, Study, Trial
from tune.study.settings import SearchSettings

FINALISTS = 3


def read_baseline(study: Study[SearchSettings]) -> Metrics:
    """Return the base model's scores on the noise of the trials; none before the first trial has measured them."""
    file, _ = study.baseline(study.settings.first)
    return read_metrics(read_record(file, ADVICE).numbers()) if file.exists() else ()


def relative_estimate(metrics: Metrics, baseline: Metrics) -> Estimate:
    """Return the score relative to the base model's, with its standard error."""
    return Estimate((relative_score(metrics, baseline),), (relative_error(metrics, baseline),))


def trial_estimate(trial: Trial, baseline: Metrics) -> Estimate:
    """Return the score of a complete trial's kept state on the noise that trials are compared on."""
    assert trial.kept is not None
    return relative_estimate(trial.kept.metrics, baseline)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Order trials: the complete ones by score, then those stopped by how far they came and score, then the failed."""
    places = {Outcome.COMPLETED: 0, Outcome.FAILED: 2}

    def key(trial: Trial) -> tuple[float, ...]:
        far = 0 if trial.outcome is Outcome.COMPLETED else -trial.updates
        return places.get(trial.outcome, 1), far, trial.score, trial.number

    return sorted(trials, key=key)


def complete(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials that have a score, the best first."""
    return [trial for trial in ranked(trials) if trial.outcome is Outcome.COMPLETED and trial.score < float("inf")]


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the complete trials that no other beats in the score with as few network evaluations, cheapest first."""
    found: list[Trial] = []
    for trial in sorted(complete(trials), key=lambda each: (each.steps, each.score, each.number)):
        if not found or trial.score < found[-1].score:
            found.append(trial)
    return found


def probability_better(one: Estimate, other: Estimate) -> float:
    """Return the probability that the first score is truly the smaller one (normal errors, taken as independent)."""
    p = compare_settings(one.values, other.values, (one.errors, other.errors)).p
    return 1 - p / 2 if one.mean <= other.mean else p / 2


def percent(probability: float) -> str:
    """Return a probability in words that never claim certainty."""
    return "over 99.9 %" if probability > 0.999 else f"{100 * probability:.{int(probability > 0.99)}f} %"


def tied_with_best(trials: Sequence[Trial], baseline: Metrics) -> list[Trial]:
    """Return the best trial and those that can't be told apart from it at two-sided 5 %, the best first."""
    whole = complete(trials)
    best = [trial_estimate(trial, baseline) for trial in whole[:1]]
    return whole[:1] + [trial for trial in whole[1:] if tied(best[0], trial_estimate(trial, baseline))]


def choose_finalists(trials: Sequence[Trial], baseline: Metrics, budgets: bool = False) -> list[Trial]:
    """Choose trials that are scored again on fresh noise, at most three: the best and those tied with it.

    Of several budgets those of the front with the best scores: the best trial of one is no rival of another's.
    """
    chosen = sorted(front(trials), key=lambda trial: trial.score) if budgets else tied_with_best(trials, baseline)
    chosen = chosen[:FINALISTS]
    if not any(trial.held_out for trial in chosen):
        # a loss of all spaces grades itself: one trial that does not is scored beside it, if there is any
        chosen = chosen[: FINALISTS - 1] + [trial for trial in complete(trials) if trial.held_out][:1]
    return chosen


def choose_winner(
    finals: Mapping[int, Estimate], steps: Mapping[int, int], standings: Mapping[int, Standing | None]
) -> int:
    """Return the finalist with the smallest score on fresh noise; of those tied with it, the one with fewest steps.

    Those that beat the base model in spaces outside of their loss come before those of which that can't be known, and
    these before the others.
    """
    order = (Standing.BEATS, Standing.UNKNOWN)
    first = next((each for each in order if each in standings.values()), None)
    rivals = [number for number in finals if first is None or standings[number] is first]
    best = min(rivals, key=lambda number: (finals[number].mean, number))
    same = [number for number in rivals if number == best or tied(finals[best], finals[number])]
    return min(same, key=lambda number: (steps[number], finals[number].mean, number))
