"""The course of a search: trials proposed by Optuna, bad ones stopped early, finalists scored, the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import optuna
from optuna.trial import TrialState

from mmd_ddm.evaluation.verdict import Standing
from mmd_ddm.experiment.interruption import asked_to_stop
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.experiment.tracking.description import describe_search
from mmd_ddm.experiment.tracking.registry import Candidate
from tune.commands.forecast import forecast_search
from tune.commands.session import Session, elapsed, interruptible, session
from tune.report.headline import KEPT
from tune.report.leaderboard import write_table
from tune.report.winner import BEST
from tune.report.write import ARTIFACTS, PAGE, write_report
from tune.scoring.final_scores import read_final_scores
from tune.scoring.finalists import final_estimates, final_metrics, find_winner, judge, score_finalists
from tune.space.space import outside, settle
from tune.study.folder import Outcome, Study, Trial
from tune.study.settings import SearchSettings
from tune.trials.asha import Halving
from tune.trials.concurrency import Concurrency
from tune.trials.ending import ending, reason
from tune.trials.optuna_searcher import OPTUNA_FILE, StudySearcher, open_optuna
from tune.trials.tuner import run_search_trials

COMMAND = "python tune/search.py"
# how a study whose trials were completed ends, by whether its winner beats the base model
_STATUS = {Standing.BEATS: 0, Standing.BEHIND: 3, Standing.UNKNOWN: 4, None: 4}
_ENDED = {
    TrialState.COMPLETE: Outcome.COMPLETED, TrialState.PRUNED: Outcome.STOPPED, TrialState.FAIL: Outcome.FAILED
}  # fmt: skip


def run_search(
    settings: SearchSettings,
    open_study: Callable[[], Study[SearchSettings]],
    *,
    started: float,
) -> int:
    """Run a search to its end, from wherever it is, and return the exit status.

    0: its winner beats the base model in feature spaces outside of its loss. 1: no trial was completed. 3: some were,
    but none beats the base model. 4: whether the winner does is not known, since it was scored in no space outside of
    its loss, or its final scores are missing.

    Args:
        settings: What was asked for.
        open_study: Makes or opens its folder, once Ray and MLflow have answered.
        started: When the command began (time.monotonic).

    Raises:
        UserError: Ray or MLflow don't answer, or the machines don't suffice.
    """
    with session(settings, open_study, command=COMMAND, started=started, describe=_describe, name=_name) as current:
        # a trial learns only from those that ended before it began
        at_once = Concurrency(settings.machines, settings.concurrent, most=max(2, settings.trials // 3))
        left = _announce(current, at_once)
        with current.console.progress(left * settings.updates):
            _tune(current, at_once)
            _score(current)
    with interruptible(current.interruption, current.resume):
        return _conclude(current)


def _announce(current: Session[SearchSettings], at_once: Concurrency) -> int:
    """Say what the study will do and how long it may take; return how many trials are left."""
    study, say = current.study, current.console.say
    settings, now = study.settings, at_once.now()
    say(f"study {study.folder}: {settings.trials} trials, {now} at once; Ray and MLflow are ready")
    if apart := ", ".join(f"{name} {value}" for name, value in outside(settings.space, settings.config).items()):
        say(f"trial 001 is another than the preset best: the space has no place for its {apart}")
    left = settings.trials - sum(trial.outcome is not Outcome.RUNNING for trial in study.trials())
    if left > 0 and (told := forecast_search(settings, left, min(left, now))) is not None:
        say(told)
    return max(0, left)


def _name(trial: Trial) -> str:
    return f"trial {trial.number:03d}{' (preset paper)' if trial.number == 0 else ''}"


def _describe(study: Study[SearchSettings]) -> tuple[str, dict[str, Scalar | str]]:
    space = study.settings.space
    written = {f"space.{name}": str(text) for name, text in space.as_text().items()}
    return describe_search(study.name, study.settings.config, space.dimensions), dict(written)


def _tune(current: Session[SearchSettings], concurrency: Concurrency) -> None:
    study, settings = current.study, current.study.settings
    optuna_study = open_optuna(study.folder / OPTUNA_FILE, settings.space.searches_budgets)
    former = _reconcile(current, optuna_study)
    if len(former) >= settings.trials:
        return

    def begin(number: int, point: Mapping[str, Scalar]) -> int:
        config = settle(settings.first if number == 0 else settings.config, point)
        study.begin_trial(number, config, point)
        return config.sampler.steps

    searcher = StudySearcher(
        optuna_study, settings.space, first=settings.first.flat(), second=settings.config.flat(),
        trials=settings.trials, updates=settings.updates, seed=settings.seed, begin=begin,
        end=lambda number, gone: ending(study.trial_folder(number), gone=gone),
        asked=partial(asked_to_stop, study.folder),
    )  # fmt: skip
    stopping = Halving(settings.updates, settings.config.scoring.scorings, former)
    with current.stopping_gently():
        run_search_trials(study, current.recorder, concurrency, searcher, stopping, settings.trials - len(former))


def _reconcile(current: Session[SearchSettings], optuna_study: optuna.Study) -> list[Trial]:
    """Return the trials that ended under an earlier driver; finish writing down what it had no time for."""
    study = current.study
    ended = {t.number: _ENDED[t.state] for t in optuna_study.get_trials(deepcopy=False) if t.state in _ENDED}
    for number, outcome in ended.items():
        if study.trial(number).outcome is Outcome.RUNNING:
            study.end_trial(number, outcome, reason(study.trial_folder(number)) if outcome is Outcome.FAILED else "")
        current.recorder.close(number)
    return [study.trial(number) for number in sorted(ended)]


def _score(current: Session[SearchSettings]) -> None:
    """Measure the final scores once all trials have ended; without them the study still has its report."""
    study = current.study
    if (
        current.asked()
        or find_winner(study) is None
        or any(trial.outcome is Outcome.RUNNING for trial in study.trials())
    ):
        return
    current.attempt_scores(lambda: score_finalists(study, current.console.say))


def _conclude(current: Session[SearchSettings]) -> int:
    began, study, console = time.monotonic(), current.study, current.console
    said, trials = write_report(study), study.trials()
    best, standing = judge(study)
    if best is not None and standing is Standing.BEATS:
        current.tracker.register(best.folder, candidate(study, best))
    artifacts = [study.folder / name for name in ARTIFACTS]
    metrics = final_metrics(read_final_scores(study), best)
    complete = current.finish(trials, "\n\n".join(said), artifacts, metrics, _tags(best, standing))
    if complete:
        console.say(said[0])
    write_table(console.console, trials)
    console.say(f"report and records took {elapsed(began)}")
    console.say(f"report: {study.folder / PAGE}")
    if best is not None:
        for line in said[1:]:
            console.say(line)
        if standing in KEPT:
            console.say(f"best model: {study.folder / BEST} (trial {best.number:03d}, score {best.score:.4g})")
    return current.farewell(complete, "trial") or _STATUS[standing]


def _tags(best: Trial | None, standing: Standing | None) -> dict[str, str]:
    """Return the tags of the study's run in MLflow."""
    if best is None or best.kept is None:
        return {}
    words = {"beats_base_model": str(standing or Standing.UNKNOWN)}
    if standing in KEPT:
        words |= {"best_trial": f"{best.number:03d}", "best_score": f"{best.score:.6g}",
                  "best_update": str(best.kept.update)}  # fmt: skip
    return words


def candidate(study: Study[SearchSettings], best: Trial) -> Candidate:
    """Return the winner as it is registered: with its scores on fresh noise."""
    settings, rows = study.settings, read_final_scores(study)
    finals, _ = final_estimates(study, rows)
    row = next(row for row in rows if row.model is not None and row.model.trial == best.number)
    assert best.kept is not None
    scoring = Scoring(best.kept.update, finals[best.number].mean, row.metrics)
    words = {"study": study.name, "trial": str(best.number)}
    return Candidate(best.config, scoring, settings.first, row.images, words)
