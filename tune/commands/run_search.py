"""The driving process of a study: Ray, Optuna, early stopping and MLflow put together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from optuna.trial import TrialState

from mmd_ddm.experiment.config import Config, Scalar
from mmd_ddm.experiment.distributed.cluster import check_resources, start_ray
from mmd_ddm.experiment.tracking.store import first_line, ui_command
from mmd_ddm.experiment.tracking.tracker import TrackedRun, Tracker
from tune.report.leaderboard import write_table
from tune.report.summary import OPTUNA_FILE
from tune.report.write import ARTIFACTS, PAGE, write_report
from tune.scoring.final_scores import read_scores
from tune.scoring.finalists import final_metrics, find_winner, score_finalists
from tune.space.parse import parse_space
from tune.space.space import Space, searches_budgets, settle
from tune.study.console import Screen
from tune.study.folder import COMPLETED, FAILED, RUNNING, STOPPED, Settings, Study, TrialRecord
from tune.trials.asha import Halving
from tune.trials.callback import Recorder, close_trial, failure_reason, follow_trial
from tune.trials.optuna_searcher import StudySearcher, open_optuna
from tune.trials.trial import run_trial
from tune.trials.tuner import fitting, needed, run_trials

_ENDED = {TrialState.COMPLETE: COMPLETED, TrialState.PRUNED: STOPPED, TrialState.FAIL: FAILED}
_log = logging.getLogger(__name__)


def drive(settings: Settings, open_study: Callable[[], Study], *, concurrent: int | None = None, started: float) -> int:
    """Run a study to its end, from wherever it is.

    Args:
        settings: What was asked for.
        open_study: Makes or opens its folder, once Ray and MLflow have answered.
        concurrent: Trials at once; None: see `_concurrent`.
        started: When the command began (time.monotonic).

    Returns:
        The exit status: 0 if a trial was completed, 1 if none.

    Raises:
        UserError: Ray or MLflow don't answer, or the machines don't suffice.
    """
    import ray

    tracker = Tracker(f"mmd-ddm {settings.config['dataset']}")  # connects while Ray starts
    screen = Screen(settings.trials * settings.updates, started, _name)
    try:
        start_ray(workers=settings.workers)
        check_resources(needed(settings))
        tracker.check()
        study = open_study()
        at_once = concurrent or _concurrent(settings)
        screen.say(f"study {study.folder}: {settings.trials} trials, {at_once} at once; Ray and MLflow are ready")
        parent = _follow_study(tracker, study)
        with screen:
            _tune(study, tracker, parent, screen, at_once)
            _score(study, screen)
        searched = time.monotonic()
    finally:
        ray.shutdown()
    return _conclude(study, tracker, parent, screen, searched)


def _name(trial: TrialRecord) -> str:
    return f"trial {trial.number:03d}{' (preset paper)' if trial.number == 0 else ''}"


def _concurrent(settings: Settings) -> int:
    """As many trials as fit, up to a third of all: a trial learns only from those that ended before it began."""
    return min(fitting(settings), max(2, settings.trials // 3))


def _tune(study: Study, tracker: Tracker, parent: TrackedRun, screen: Screen, concurrent: int) -> None:
    settings = study.settings
    optuna_study = open_optuna(study.folder / OPTUNA_FILE, searches_budgets(settings.space))
    former = _reconcile(study, optuna_study, tracker, parent)
    left = settings.trials - len(former)
    if left <= 0:
        return
    space = parse_space(settings.space, Config.from_flat(settings.config))
    searcher = StudySearcher(
        optuna_study,
        space,
        first={name: settings.first[name] for name in space.dimensions},
        second={name: settings.config[name] for name in space.dimensions},
        trials=settings.trials,
        updates=settings.updates,
        seed=settings.seed,
        on_suggest=lambda number, point: _begin(study, space, number, point),
    )
    run_trials(
        run_trial,
        study,
        Recorder(study, tracker, parent, screen),
        concurrent,
        search_alg=searcher,
        scheduler=Halving(settings.updates, int(settings.config["evaluations"]), former),
        num_samples=left,
    )


def _begin(study: Study, space: Space, number: int, point: dict[str, Scalar]) -> None:
    leaves = study.settings.first if number == 0 else study.settings.config
    study.begin_trial(number, settle(Config.from_flat(leaves), point), point)


def _reconcile(study: Study, optuna_study: Any, tracker: Tracker, parent: TrackedRun) -> list[TrialRecord]:
    """Return the trials that ended under an earlier driver; finish writing down what it had no time for."""
    ended = {t.number: _ENDED[t.state] for t in optuna_study.get_trials(deepcopy=False) if t.state in _ENDED}
    for number, outcome in ended.items():
        if study.trial(number).outcome == RUNNING:
            reason = failure_reason(study, number) if outcome == FAILED else ""
            study.end_trial(number, outcome, reason, 0.0)
        close_trial(follow_trial(tracker, study, number, parent), study, number)
    return [study.trial(number) for number in sorted(ended)]


def _follow_study(tracker: Tracker, study: Study) -> TrackedRun:
    tags = {"study": study.name, "dataset": str(study.settings.config["dataset"])}
    params = {**study.settings.config, **{f"space.{name}": text for name, text in study.settings.space.items()}}
    return tracker.follow(study.folder, name=study.name, params=params, tags=tags)


def _score(study: Study, screen: Screen) -> None:
    """Measure the final scores once all trials have ended; without them the study still has its report."""
    if find_winner(study) is None or any(trial.outcome == RUNNING for trial in study.trials()):
        return
    try:
        score_finalists(study, screen.say)
    except (Exception, KeyboardInterrupt) as error:  # of Ray, of the network, of the disk: the trials stand
        reason = first_line(error)
        _log.warning("The final scores were not measured (%s); --resume %s measures them", reason, study.folder)


def _conclude(study: Study, tracker: Tracker, parent: TrackedRun, screen: Screen, searched: float) -> int:
    said = write_report(study)
    trials = study.trials()
    best = find_winner(study)
    unfinished = [trial for trial in trials if trial.outcome == RUNNING]
    tags = {} if best is None else {"best_trial": f"{best.number:03d}", "best_score": f"{best.score:.6g}"}
    if said:
        tags["mlflow.note.content"] = "\n\n".join(said)  # shown on the run's page
    status = "KILLED" if unfinished else "FINISHED" if best is not None else "FAILED"
    metrics = final_metrics(read_scores(study), best)
    parent.close(status, tags, [(study.folder / name, "") for name in ARTIFACTS], metrics)
    if best is not None:
        of = {"study": study.name, "trial": str(best.number)}
        tracker.register(best.folder, study.trial_config(best.number), best.curve[-1], of)
    unsent = tracker.close()
    write_table(screen.console, trials)
    screen.say(f"report and records took {time.monotonic() - searched:.0f} s")
    if unsent:
        _log.warning(
            "MLflow did not take the records of %d runs; python tune/search.py --resume %s sends them",
            len(unsent),
            study.folder,
        )
    if unfinished:
        screen.say(f"{len(unfinished)} trials are unfinished; continue with --resume {study.folder}")
    screen.say(f"report: {study.folder / PAGE}")
    if best is None:
        screen.say("no trial was completed")
        return 1
    for line in said:
        screen.say(line.replace("*", "").strip())
    screen.say(f"best model: {study.folder / 'best'} (trial {best.number:03d}, score {best.score:.4g})")
    screen.say(f"compare the trials: {ui_command()}")
    return 0
