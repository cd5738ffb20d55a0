"""Measurements side by side, and how they are printed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def interleaved(actions: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Processor seconds of each action, the actions taken in turn; a first round is not counted.

    Processor time of a single thread is the wall time of an idle machine, and what else runs hardly changes it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for repetition in range(repetitions + 1):
        for name, action in actions.items():
            start = time.process_time()
            action()
            if repetition > 0:
                seconds[name].append(time.process_time() - start)
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], above: str, below: str) -> float:
    """The median over rounds of one action's time as a multiple of another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def show(title: str, rows: Sequence[Sequence[object]]) -> None:
    """Print rows of cells as a table."""
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print(f"\n{title}")
    for row in cells:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
