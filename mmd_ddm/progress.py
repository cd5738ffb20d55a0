"""Progress of a long stage: a bar with an estimate on a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[str], None]
_LINES = 20  # log lines a stage at most, where there is no terminal
_APART = 10.0  # seconds between two of them at least; shorter stages have none
_log = logging.getLogger(__name__)
_shown: list[Progress] = []  # the bars of this process, at most one block of them: a terminal has room for no more


@contextmanager
def progress(stage: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how far a stage of `total` equal parts has come, `done` of them earlier, and how long the rest will take.

    A stage within another has its bar below the other's, until it ends.

    Yields:
        A function to be called after each part with the figures to show beside the bar.
    """
    if not sys.stderr.isatty():
        yield _log_lines(stage, total, done)
        return
    outermost = not _shown
    if outermost:
        _shown.append(_new_block())
    bars = _shown[0]
    try:
        with bars if outermost else nullcontext():
            task = bars.add_task(stage, total=total, completed=done)
            try:
                yield lambda figures: bars.update(task, advance=1, description=f"{stage} {figures}")
            finally:
                if not outermost:
                    bars.remove_task(task)
    finally:
        if outermost:
            _shown.clear()


def _new_block() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def _log_lines(stage: str, total: int, before: int) -> Advance:
    started, done = time.monotonic(), before
    said = started

    def advance(figures: str) -> None:
        nonlocal done, said
        done += 1
        now = time.monotonic()
        passed = done * _LINES // total > (done - 1) * _LINES // total
        if (passed and now - said >= _APART) or (done == total and said > started):
            said, left = now, (now - started) * (total - done) / (done - before)
            _log.info("%s %d/%d %s, %.0f s left", stage, done, total, figures, left)

    return advance
