"""The order of a study's trials: as a table on the screen and in leaderboard.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as ConsoleTable

from tune.report.blocks import Table
from tune.scoring.ranking import ranked
from tune.study.console import plus_minus, point_text, short
from tune.study.folder import Study, TrialRecord

LEADERBOARD = "leaderboard.csv"


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


NARROW = 120  # columns of a terminal below which a trial's settings have a line of their own


def write_table(console: Console, trials: Sequence[TrialRecord]) -> None:
    """Print the trials, the best first, in no more columns than the console has."""
    names, narrow = _kid_names(trials), console.width < NARROW
    table = ConsoleTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("#", "trial", "outcome", "updates", "score", *(name.replace("kid_", "KID ") for name in names)):
        table.add_column(heading, no_wrap=True)
    if not narrow:
        table.add_column("setting", overflow="fold")
    for rank, trial in enumerate(ranked(trials), 1):
        last = trial.curve[-1] if trial.curve else {}
        cells = [str(rank), f"{trial.number:03d}", trial.outcome, str(trial.updates), rounded(last.get("score"))]
        cells += [with_error(last, name) for name in names]
        table.add_row(*cells, *([] if narrow else [trial.reason or point_text(trial.point)]))
    console.print(table, soft_wrap=False)
    if narrow:
        for trial in ranked(trials):
            console.print(f"{trial.number:03d}: {trial.reason or point_text(trial.point)}", markup=False)


def trial_table(
    trials: Sequence[TrialRecord], baseline: Mapping[str, float], against: Mapping[int, str] | None = None
) -> Table:
    """Return the trials as a table, the best first and the base model last.

    Args:
        trials: All of them.
        baseline: The base model's scores; none if there are none yet.
        against: How trials stand to the best, in a word, by number.
    """
    names = [name for name in metric_names(trials) if not name.endswith("_stderr")]
    points, against = _point_names(trials), against or {}
    head = ["rank", "trial", "outcome", "score", "against the best", *points, *names, "updates", "seconds"]
    rows = []
    for rank, trial in enumerate(ranked(trials), 1):
        last = trial.curve[-1] if trial.curve else {}
        cells = [f"{rank}", f"{trial.number:03d}", trial.outcome, rounded(last.get("score"))]
        cells += [against.get(trial.number, "")]
        cells += [short(trial.point[name]) if trial.point.get(name) is not None else "" for name in points]
        cells += [with_error(last, name) for name in names]
        rows.append((*cells, str(trial.updates), f"{trial.seconds:.0f}"))
    if baseline:
        measured = [with_error(baseline, name) for name in names]
        rows.append(("", "base", "", "1", "", *("" for _ in points), *measured, "0", ""))
    words = ("outcome", "against the best", *points)
    return Table(tuple(map(_heading, head)), tuple(rows), tuple(map(_heading, words)))


def _heading(name: str) -> str:
    kind, _, rest = name.partition("_")
    return f"{kind.upper()} {rest}".replace("_", " ") if kind in ("kid", "fid") else name.replace("_", " ")


def _kid_names(trials: Sequence[TrialRecord]) -> list[str]:
    return [name for name in metric_names(trials) if name.startswith("kid_") and not name.endswith("_stderr")]


def with_error(row: Mapping[str, Any], name: str) -> str:
    """Return a metric with its standard error, or nothing if it is absent."""
    return "" if row.get(name) is None else plus_minus(row[name], row.get(f"{name}_stderr"))


def rounded(value: Any) -> str:
    """Return a number to four digits, or nothing for None."""
    return "" if value is None else f"{value:.4g}"
