"""What the driving process does as trials report and end: the folder, MLflow and the screen are told."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import Any

import ray.tune

from mmd_ddm.experiment.distributed.train import RAY_FOLDER
from mmd_ddm.experiment.run_folder import CHECKPOINT
from mmd_ddm.experiment.tracking.tracker import TrackedRun, Tracker, model_artifact, tags
from tune.space.space import present
from tune.study.console import Screen
from tune.study.folder import COMPLETED, FAILED, STOPPED, Study
from tune.trials.optuna_searcher import NUMBER, TIME
from tune.trials.trial import FAILURE

STATUS = {COMPLETED: "FINISHED", STOPPED: "KILLED", FAILED: "FAILED"}


class Recorder(ray.tune.Callback):
    """Tune's callback of a study.

    Args:
        study: Where ends are written down.
        tracker: The connection to MLflow.
        parent: The study's own MLflow run.
        screen: Where progress is shown.
    """

    def __init__(self, study: Study, tracker: Tracker, parent: TrackedRun, screen: Screen) -> None:
        self._study, self._tracker, self.parent, self._screen = study, tracker, parent, screen
        self._runs: dict[int, TrackedRun] = {}
        self._started: dict[int, float] = {}

    def __reduce__(self) -> Any:
        """Tune pickles its callbacks for a restart of its own, which is not used."""
        return (ray.tune.Callback, ())

    def run(self, number: int) -> TrackedRun:
        """Return a trial's MLflow run, opened or found again when first asked for."""
        if number not in self._runs:
            self._runs[number] = follow_trial(self._tracker, self._study, number, self.parent)
        return self._runs[number]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Open the trial's MLflow run."""
        number = trial.config[NUMBER]
        self._started[number] = time.monotonic()
        self.run(number)
        self._screen.started(self._study.trial(number))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Show an evaluation and send what is new."""
        number = trial.config[NUMBER]
        self._screen.evaluated(number, result)
        self.run(number).send()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close a trial that was stopped or came to its end."""
        number = trial.config[NUMBER]
        whole = (trial.last_result or {}).get(TIME, 0) >= self._study.trial(number).planned
        self._end(number, COMPLETED if whole else STOPPED, "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close a trial that failed."""
        self._end(trial.config[NUMBER], FAILED, failure_reason(self._study, trial.config[NUMBER]))

    def _end(self, number: int, outcome: str, reason: str) -> None:
        folder = self._study.trial_folder(number)
        seconds = time.monotonic() - self._started.get(number, time.monotonic())
        self._study.end_trial(number, outcome, reason, seconds)
        if outcome != FAILED:  # of a model's size, and more
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        shutil.rmtree(folder / RAY_FOLDER, ignore_errors=True)
        close_trial(self.run(number), self._study, number)
        self._screen.ended(self._study.trial(number))


def follow_trial(tracker: Tracker, study: Study, number: int, parent: TrackedRun) -> TrackedRun:
    """Open, or find again, a trial's MLflow run."""
    config = study.trial_config(number)
    return tracker.follow(
        study.trial_folder(number),
        name=f"{study.name}/{number:03d}",
        params=present(config),
        tags={**tags(config), "study": study.name, "trial": str(number)},
        parent=parent,
    )


def close_trial(run: TrackedRun, study: Study, number: int, final: Sequence[tuple[str, float, int]] = ()) -> None:
    """End a trial's MLflow run as the trial ended, with scores that are known only now."""
    trial = study.trial(number)
    words = {"outcome": trial.outcome, **({"reason": trial.reason} if trial.reason else {})}
    artifacts = model_artifact(trial.folder) if trial.outcome == COMPLETED else ()
    run.close(STATUS[trial.outcome], words, artifacts, final)


def failure_reason(study: Study, number: int) -> str:
    """Return why a trial failed, in one sentence."""
    file = study.trial_folder(number) / FAILURE
    if not file.is_file():
        return "its process died (killed, or out of memory)"
    return file.read_text().splitlines()[0]
