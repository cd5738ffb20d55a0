"""What a study shows while it runs: a line for each scoring and end, on a terminal with a bar below."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn, TimeRemainingColumn

from mmd_ddm.evaluation.metrics import kids
from mmd_ddm.experiment.run_folder import Scoring
from tune.study.folder import Outcome, Trial
from tune.study.format import duration, kept_text, point_text, with_error

QUIET = 30.0  # seconds without a word, after which it is said how far the study is


class StudyConsole:
    """The study's progress on standard output, with the time since `started` (time.monotonic).

    A trial that starts is called by its `name`; None: by its number.
    """

    def __init__(self, started: float, name: Callable[[Trial], str] | None = None) -> None:
        self._started, self._name = started, name or (lambda trial: f"trial {trial.number:03d}")
        self.console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self.console, disable=not sys.stdout.isatty())
        self._task: TaskID | None = None
        self._total, self._said = 0, time.monotonic()
        self._first: dict[int, tuple[int, float]] = {}  # a trial's update when it was first heard of, and when that was
        self._done: dict[int, int] = {}
        self._running: dict[int, Trial] = {}

    @contextmanager
    def progress(self, updates: int) -> Iterator[None]:
        """Show a bar, on a terminal, over the updates of all trials together that are to be done."""
        self._total = updates
        self._task = self._bar.add_task("updates", total=updates)
        with self._bar:
            yield

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        self._said = time.monotonic()
        self.console.print(f"[{time.monotonic() - self._started:4.0f} s] {text}", markup=False)

    def started(self, trial: Trial) -> None:
        """A trial begins."""
        self._running[trial.number] = trial
        self.say(f"{self._name(trial)} starts: {point_text(trial.point)}")

    def restarted(self, number: int, deaths: int, most: int) -> None:
        """A trial's process died."""
        self.say(
            f"trial {number:03d}: its process died; it goes on from its checkpoint in another ({deaths} of {most})"
        )

    def reached(self, number: int, update: int) -> None:
        """A trial has done so many updates; on a terminal the bar tells it, elsewhere a line now and then."""
        self._advance(number, update)
        if not self._bar.disable or time.monotonic() - self._said < QUIET:
            return
        rest, done = self._total - sum(self._done.values()), sum(self._done[n] - self._first[n][0] for n in self._done)
        seconds = time.monotonic() - min(when for _, when in self._first.values())
        left = f", about {duration(seconds / done * rest)} left for them" if done else ""
        self.say(f"trial {number:03d}  {update:>4}/{self._running[number].planned}  {rest} updates of all to do{left}")

    def scored(self, number: int, scoring: Scoring) -> None:
        """A trial was scored."""
        found = (f"{kid.space} {with_error(kid)}" for kid in kids(scoring.metrics).values())
        words = "  ".join([f"score {scoring.score:.3g}", *found])
        self.say(f"trial {number:03d}  {scoring.update:>4}/{self._running[number].planned}  {words}")
        self._advance(number, scoring.update)

    def ended(self, trial: Trial) -> None:
        """A trial ended."""
        texts = {
            Outcome.COMPLETED: f"completed, score {trial.score:.4g} {kept_text(trial)}",
            Outcome.STOPPED: f"stopped after {trial.updates} of {trial.planned} updates: others were better by then",
            Outcome.FAILED: f"failed: {trial.reason}",
        }
        self.say(f"trial {trial.number:03d}  {texts[trial.outcome]} ({trial.seconds:.0f} s)")
        self._advance(trial.number, trial.planned)

    def _advance(self, number: int, update: int) -> None:
        first = self._first.setdefault(number, (update, time.monotonic()))
        if update < first[0]:  # it began again at its checkpoint
            self._first[number] = update, time.monotonic()
        self._done[number] = update
        if self._task is not None:
            self._bar.update(self._task, completed=sum(self._done.values()))
