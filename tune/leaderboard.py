"""The order of a study's trials: as a table on the screen and in leaderboard.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tune.progress import point_text
from tune.study import COMPLETED, FAILED, Study, TrialRecord

LEADERBOARD = "leaderboard.csv"


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Order trials: the complete ones by score, then those stopped by how far they came and score, then the failed."""
    places = {COMPLETED: 0, FAILED: 2}
    return sorted(
        trials,
        key=lambda t: (places.get(t.outcome, 1), 0 if t.outcome == COMPLETED else -t.updates, t.score, t.number),
    )


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the complete trial with the smallest score, or None."""
    complete = [trial for trial in ranked(trials) if trial.outcome == COMPLETED and math.isfinite(trial.score)]
    return complete[0] if complete else None


def metric_names(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the names of all KIDs, their standard errors and FIDs, in the order of the evaluations."""
    names: dict[str, None] = {}
    for trial in trials:
        for row in trial.curve:
            names.update(dict.fromkeys(key for key in row if key.startswith(("kid_", "fid_"))))
    return list(names)


def write_leaderboard(study: Study, trials: Sequence[TrialRecord]) -> Path:
    """Write leaderboard.csv: a line for each trial, the best first."""
    names, points = metric_names(trials), _point_names(trials)
    file = study.folder / LEADERBOARD
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rank", "trial", "outcome", "score", *names, *points, "updates", "seconds", "reason"])
        for rank, trial in enumerate(ranked(trials), 1):
            last = trial.curve[-1] if trial.curve else {}
            writer.writerow(
                [
                    rank,
                    trial.number,
                    trial.outcome,
                    _cell(last.get("score")),
                    *(_cell(last.get(name)) for name in names),
                    *(_cell(trial.point.get(name), "none") for name in points),
                    trial.updates,
                    f"{trial.seconds:.1f}",
                    trial.reason,
                ]
            )
    return file


def _point_names(trials: Sequence[TrialRecord]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.point))


def _cell(value: Any, absent: str = "") -> str:
    if value is None:
        return absent
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_table(console: Console, trials: Sequence[TrialRecord]) -> None:
    """Print the trials, the best first."""
    names = [name for name in metric_names(trials) if name.startswith("kid_") and not name.endswith("_stderr")]
    table = Table(box=None)
    for heading in ("rank", "trial", "outcome", "updates", "s", "score", *names):
        table.add_column(heading, no_wrap=True)
    table.add_column("setting")
    for rank, trial in enumerate(ranked(trials), 1):
        last = trial.curve[-1] if trial.curve else {}
        state = (f"{trial.number:03d}", trial.outcome, str(trial.updates), f"{trial.seconds:.0f}")
        scores = (rounded(last.get("score")), *(with_error(last, name) for name in names))
        table.add_row(str(rank), *state, *scores, point_text(trial.point))
    console.print(table)


def with_error(row: Mapping[str, Any], name: str) -> str:
    """Return a metric with its standard error, or nothing if it is absent."""
    error = row.get(f"{name}_stderr")
    return rounded(row.get(name)) + (f" ± {error:.1g}" if error is not None else "")


def rounded(value: Any) -> str:
    """Return a number to four digits, or nothing for None."""
    return "" if value is None else f"{value:.4g}"
