"""What searches and ablations have in common: Ray, MLflow and the screen for as long as trials run, and the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from mmd_ddm.experiment.distributed.cluster import check_room, start_ray
from mmd_ddm.experiment.distributed.watch import end_at_once, watched
from mmd_ddm.experiment.interruption import Interruption, ask_to_stop, let_go_on
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.experiment.tracking.description import NOTE
from mmd_ddm.experiment.tracking.store import shown_line, ui_command
from mmd_ddm.experiment.tracking.tracked_run import TrackedRun
from mmd_ddm.experiment.tracking.tracker import Tracker
from tune.study.console import StudyConsole
from tune.study.folder import Outcome, Study, Trial
from tune.study.mlflow_pages import mlflow_pages
from tune.study.settings import AblationSettings, SearchSettings
from tune.trials.callback import Recorder

S = TypeVar("S", SearchSettings, AblationSettings)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session(Generic[S]):
    """A study while a command works on it."""

    study: Study[S]
    tracker: Tracker
    run: TrackedRun  # the study's own in MLflow
    recorder: Recorder
    console: StudyConsole
    command: str  # which continues the study with --resume
    interruption: Interruption

    @property
    def resume(self) -> str:
        """The command line that goes on with the study."""
        return f"{self.command} --resume {self.study.folder}"

    def asked(self) -> bool:
        """Whether it is to come to an end."""
        return self.interruption.asked

    def stopping_gently(self) -> AbstractContextManager[None]:
        """Have the first Ctrl-C or SIGTERM end the trials after their updates, with checkpoints."""

        def ask() -> None:
            ask_to_stop(self.study.folder)
            self.console.say("interrupted: each trial stops after its update, with a checkpoint; again: at once")

        return self.interruption.gently(ask)

    def attempt_scores(self, score: Callable[[], None]) -> None:
        """Measure final scores; whatever goes wrong, the trials stand."""
        try:
            score()
        except (Exception, KeyboardInterrupt) as error:  # of Ray, of memory, of the disk
            said = "The final scores were not all measured (%s); %s measures them"
            _log.warning(said, shown_line(error), self.resume)

    def finish(
        self, trials: Sequence[Trial], note: str, artifacts: Sequence[Path],
        metrics: Sequence[tuple[str, float, int]] = (), tags: dict[str, str] | None = None,
    ) -> bool:  # fmt: skip
        """Close the study's MLflow run, send what is left, and say what is unfinished.

        Args:
            trials: All that belong to it.
            note: What came out, as Markdown.
            artifacts: Files to keep; those that are not there are left out.
            metrics: Final scores: name, value and network evaluations.
            tags: Further words.

        Returns:
            Whether a trial was completed.
        """
        outcomes = [trial.outcome for trial in trials]
        complete, unfinished = Outcome.COMPLETED in outcomes, outcomes.count(Outcome.RUNNING)
        status = "KILLED" if unfinished else "FINISHED" if complete else "FAILED"
        words = {**(tags or {}), **({NOTE: note} if note else {})}
        self.run.close(status, words, [(file, "") for file in artifacts], metrics)
        self.recorder.leave()
        if unsent := self.tracker.close():
            _log.warning("MLflow did not take the records of %d runs; %s sends them", len(unsent), self.resume)
        if unfinished:
            self.console.say(f"{unfinished} trials are unfinished; continue with {self.resume}")
        return complete

    def farewell(self, complete: bool, what: str) -> int:
        """Say how to go on, to compare the runs, or that none was completed; return the exit status: 0, 1 or 130."""
        if self.asked():
            self.console.say(f"interrupted; {self.resume} goes on")
            return 130
        self.console.say(f"compare the {what}s: {ui_command()}" if complete else f"no {what} was completed")
        if complete and (pages := mlflow_pages(self.study)) is not None:
            self.console.say(f"all runs: {pages.runs}")
            if pages.comparison is not None:
                self.console.say(f"the {what}s beside each other: {pages.comparison}")
        return 0 if complete else 1


@contextmanager
def session(
    settings: S, open_study: Callable[[], Study[S]], *, command: str, started: float,
    describe: Callable[[Study[S]], tuple[str, dict[str, Scalar | str]]], name: Callable[[Trial], str] | None = None,
) -> Iterator[Session[S]]:  # fmt: skip
    """Start Ray, connect to MLflow and open the study; Ray ends with the block.

    Args:
        settings: What was asked for.
        open_study: Makes or opens the study's folder, once Ray and MLflow have answered.
        command: Of the command line.
        started: When the command began (time.monotonic).
        describe: The description and further parameters of the study's MLflow run.
        name: What a trial is called; None: by its number.

    Raises:
        UserError: Ray or MLflow don't answer, the machines don't suffice, or the folder can't be written.
    """
    import ray

    tracker = Tracker(f"mmd-ddm {settings.config.images_name}")  # connects while Ray starts
    console, interruption = StudyConsole(started, name), Interruption()
    try:
        start_ray(workers=settings.machines.workers)
        check_room(settings.machines.processes, settings.machines.process)
        tracker.check()
        study = open_study()
        resume = f"{command} --resume {study.folder}"
        lost = partial(end_at_once, "error", f"{resume} goes on from the last checkpoints")
        with study.claimed(), interruptible(interruption, resume), watched(lost):
            let_go_on(study.folder)
            run = _record(study, tracker, *describe(study))
            recorder = Recorder(study, tracker, run, console)
            with recorded_to_the_end(tracker, run, recorder):
                yield Session(study, tracker, run, recorder, console, command, interruption)
    finally:
        ray.shutdown()


@contextmanager
def interruptible(interruption: Interruption, resume: str) -> Iterator[None]:
    """Hear Ctrl-C and SIGTERM, and end with the command line that goes on."""
    try:
        with interruption.heard():
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{resume} goes on") from None


@contextmanager
def recorded_to_the_end(tracker: Tracker, run: TrackedRun, recorder: Recorder) -> Iterator[None]:
    """End the MLflow runs of a study if the block ends with an error: none is to be called running for ever."""
    try:
        yield
    except BaseException as error:
        interrupted = isinstance(error, (KeyboardInterrupt, SystemExit))
        recorder.leave()
        run.close("KILLED" if interrupted else "FAILED", {} if interrupted else {"reason": shown_line(error)})
        tracker.close(patience=0)
        raise


def _record(study: Study[S], tracker: Tracker, description: str, further: dict[str, Scalar | str]) -> TrackedRun:
    config = study.settings.config
    params, tags = {**config.flat(), **further}, {"study": study.name, "dataset": config.images_name}
    return tracker.follow(study.folder, name=study.name, description=description, params=params, tags=tags)


def elapsed(since: float) -> str:
    """Return a time in words."""
    return f"{time.monotonic() - since:.0f} s"
