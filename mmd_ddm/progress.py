"""Progress of a long stage: a bar with an estimate on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[str], None]
_LINES = 20  # log lines a stage, where there is no terminal
_log = logging.getLogger(__name__)


@contextmanager
def progress(stage: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how far a stage of `total` equal parts has come, `done` of them earlier, and how long the rest will take.

    Yields:
        A function to be called after each part with the figures to show beside the bar.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(stage, total=total, completed=done)
            yield lambda figures: bar.update(task, advance=1, description=f"{stage} {figures}")
    else:
        yield _log_lines(stage, total, done)


def _log_lines(stage: str, total: int, before: int) -> Advance:
    started, done = time.monotonic(), before

    def advance(figures: str) -> None:
        nonlocal done
        done += 1
        if done * _LINES // total > (done - 1) * _LINES // total:
            left = (time.monotonic() - started) * (total - done) / (done - before)
            _log.info("%s %d/%d %s, %.0f s left", stage, done, total, figures, left)

    return advance
