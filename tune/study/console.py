"""What a study shows while it runs: a line for each evaluation and end, on a terminal with a bar below."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tune.study.folder import COMPLETED, FAILED, STOPPED, TrialRecord


class Screen:
    """The study's progress on standard output.

    Args:
        updates: Of all trials together.
        started: When the command began (time.monotonic).
        name: What a trial is called; None: by its number.
    """

    def __init__(self, updates: int, started: float, name: Callable[[TrialRecord], str] | None = None) -> None:
        self._started, self._name = started, name or (lambda trial: f"trial {trial.number:03d}")
        self.console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=self.console, disable=not sys.stdout.isatty())
        self._task = self._bar.add_task("updates", total=updates)
        self._done: dict[int, int] = {}
        self._running: dict[int, TrialRecord] = {}

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        self.console.print(f"[{time.monotonic() - self._started:4.0f} s] {text}", markup=False)

    def started(self, trial: TrialRecord) -> None:
        """A trial begins."""
        self._running[trial.number] = trial
        self.say(f"{self._name(trial)} starts: {point_text(trial.point)}")

    def evaluated(self, number: int, metrics: Mapping[str, Any]) -> None:
        """A trial was evaluated."""
        planned = self._running[number].planned
        self.say(f"trial {number:03d}  {metrics['update']:>4}/{planned}  {metrics_text(metrics)}")
        self._advance(number, int(metrics["update"]))

    def ended(self, trial: TrialRecord) -> None:
        """A trial ended."""
        texts = {
            COMPLETED: f"completed, score {trial.score:.4g}",
            STOPPED: f"stopped after {trial.updates} of {trial.planned} updates: others were better by then",
            FAILED: f"failed: {trial.reason}",
        }
        self.say(f"trial {trial.number:03d}  {texts[trial.outcome]} ({trial.seconds:.0f} s)")
        self._advance(trial.number, trial.planned)

    def _advance(self, number: int, update: int) -> None:
        self._done[number] = update
        self._bar.update(self._task, completed=sum(self._done.values()))


def point_text(point: Mapping[str, Any]) -> str:
    """Return the values of a trial's searched settings as a few words."""
    return ", ".join(f"{name}={short(value)}" for name, value in point.items() if value is not None)


def metrics_text(metrics: Mapping[str, Any]) -> str:
    """Return the score and the KIDs with their standard errors as a few words."""
    words = [f"score {metrics['score']:.3g}"]
    for name, value in metrics.items():
        if name.startswith("kid_") and not name.endswith("_stderr"):
            words.append(f"{name.removeprefix('kid_')} {plus_minus(value, metrics.get(f'{name}_stderr'))}")
    return "  ".join(words)


def plus_minus(value: float, error: float | None) -> str:
    """Return a number with its standard error, to two digits of the error."""
    if error is None or not (math.isfinite(error) and math.isfinite(value) and error > 0):
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    shown = round(value, digits) + 0.0  # not -0
    return f"{shown:.{digits}f} ± {error:.{digits}f}"


def short(value: Any) -> str:
    """Return a setting's value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
