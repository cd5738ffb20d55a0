"""What the driving process does as trials report and end: the folder, MLflow and the screen are told."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import ray.tune

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.train import RAY_FOLDER
from mmd_ddm.experiment.run_folder import CHECKPOINT, METRICS, MODEL, Scoring, read_rows
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.experiment.tracking.description import describe_run
from mmd_ddm.experiment.tracking.tracked_run import TrackedRun
from mmd_ddm.experiment.tracking.tracker import Tracker, model_artifact, tags
from tune.space.space import meaningful
from tune.study.console import StudyConsole
from tune.study.folder import AnyStudy, Outcome
from tune.study.settings import SearchSettings
from tune.trials.ending import Ending, ending, reason
from tune.trials.optuna_searcher import UPDATE

if TYPE_CHECKING:
    from ray.tune.experiment import Trial as TuneTrial

PAUSE = 2.0  # seconds between two looks at how far trials are
STATUS = {Outcome.COMPLETED: "FINISHED", Outcome.STOPPED: "KILLED", Outcome.FAILED: "FAILED"}


class Recorder(ray.tune.Callback):  # type: ignore[misc]  # Ray is not typed
    """Tune's callback of a study, whose own MLflow run is the parent of the trials'."""

    def __init__(self, study: AnyStudy, tracker: Tracker, parent: TrackedRun, console: StudyConsole) -> None:
        self._study, self._tracker, self._parent, self.console = study, tracker, parent, console
        self._runs: dict[int, TrackedRun] = {}
        self._started: dict[int, float] = {}
        self._read: dict[int, int] = {}  # up to which byte the metrics of trials that run were read
        self._next = 0.0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Tune pickles its callbacks for a restart of its own, which is not used."""
        return (ray.tune.Callback, ())

    def run(self, number: int) -> TrackedRun:
        """Return a trial's MLflow run, opened or found again when first asked for."""
        if number not in self._runs:
            name, config = f"{self._study.name}/{number:03d}", self._study.trial(number).config
            compared, aside = self._settings(config)
            words = {**aside, **tags(config), "study": self._study.name, "trial": str(number)}
            description = describe_run(f"Trial {number} of {self._study.name}", config)
            self._runs[number] = self._tracker.follow(
                self._study.trial_folder(number), name=name, description=description, params=compared, tags=words,
                parent=self._parent,
            )  # fmt: skip
        return self._runs[number]

    def _settings(self, config: Config) -> tuple[dict[str, Scalar], dict[str, str]]:
        """Return the settings that runs are compared by, and those in which the preset `paper` alone differs, as tags.

        MLflow's comparison shows parameters that differ, so that what was searched would be lost among the others.
        """
        values, asked = meaningful(config), self._study.settings
        if not isinstance(asked, SearchSettings):
            return values, {}
        first, others = asked.first.flat(), asked.config.flat()
        apart = {name for name in values if name not in asked.space.dimensions and first[name] != others[name]}
        aside = {name: "none" if values[name] is None else str(values[name]) for name in apart}
        return {name: value for name, value in values.items() if name not in apart}, aside

    def close(self, number: int, final: Sequence[tuple[str, float, int]] = ()) -> None:
        """End a trial's MLflow run as the trial ended, with scores that are known only now."""
        trial = self._study.trial(number)
        words = {"outcome": str(trial.outcome), **({"reason": trial.reason} if trial.reason else {})}
        words |= {"kept_update": str(trial.kept.update)} if trial.kept else {}
        artifacts = model_artifact(trial.folder) if trial.outcome is Outcome.COMPLETED else ()
        self.run(number).close(STATUS[trial.outcome], words, artifacts, final)

    def leave(self) -> None:
        """End the MLflow runs of trials that are to go on another time."""
        for number, run in self._runs.items():
            if self._study.trial(number).outcome is Outcome.RUNNING:
                run.close("KILLED")

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: object) -> None:
        """Look, now and then, how far the trials are, which report their scorings alone."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PAUSE
        for number, position in self._read.items():
            rows, self._read[number] = read_rows(self._study.trial_folder(number) / METRICS, position)
            if rows and "update" in rows[-1]:
                self.console.reached(number, int(rows[-1]["update"]))

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Open the trial's MLflow run."""
        number = trial.config["number"]
        if number not in self._started:  # else its process is another
            self._started[number] = time.monotonic()
            self._read[number] = 0
            self.run(number)
            self.console.started(self._study.trial(number))

    def on_trial_recover(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Tell that a trial's process died and it goes on in another."""
        self.console.restarted(trial.config["number"], trial.num_failures, trial.max_failures)

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: Mapping[str, float], **info: object
    ) -> None:
        """Show a scoring and send what is new."""
        number = trial.config["number"]
        self.console.scored(number, Scoring.of(result))
        self.run(number).send()

    def on_trial_complete(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Close a trial that was stopped or came to its end."""
        number = trial.config["number"]
        whole = (trial.last_result or {}).get(UPDATE, 0) >= self._study.trial(number).planned
        self._end(number, Outcome.COMPLETED if whole else Outcome.STOPPED, gone=False)

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: object) -> None:
        """Close a trial whose process died too often."""
        self._end(trial.config["number"], Outcome.FAILED, gone=True)

    def _end(self, number: int, outcome: Outcome, *, gone: bool) -> None:
        folder = self._study.trial_folder(number)
        self._read.pop(number, None)
        end = ending(folder, gone=gone)
        if end is Ending.INTERRUPTED:
            self.console.say(f"trial {number:03d} stopped after an update, with a checkpoint")
            self.run(number).close("KILLED", {"outcome": str(Outcome.RUNNING)})
            return
        outcome = outcome if end is Ending.ITSELF else Outcome.FAILED
        seconds = time.monotonic() - self._started.get(number, time.monotonic())
        self._study.end_trial(number, outcome, reason(folder) if outcome is Outcome.FAILED else "", seconds)
        if outcome is not Outcome.FAILED:  # of a model's size, and more
            shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        if outcome is Outcome.STOPPED:
            shutil.rmtree(folder / MODEL, ignore_errors=True)
        shutil.rmtree(folder / RAY_FOLDER, ignore_errors=True)
        self.close(number)
        self.console.ended(self._study.trial(number))
