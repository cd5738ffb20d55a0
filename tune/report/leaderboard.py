"""The order of a study's trials: as a table on the screen and in leaderboard.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as ConsoleTable

from mmd_ddm.evaluation.metrics import WORDS, Metric, Metrics, find, flat
from mmd_ddm.experiment.setting import Scalar
from tune.report.render import Table
from tune.scoring.ranking import ranked
from tune.study.folder import Study, Trial
from tune.study.format import point_text, short, with_error
from tune.study.settings import SearchSettings

LEADERBOARD = "leaderboard.csv"


def metric_columns(trials: Sequence[Trial]) -> list[Metric]:
    """Return one metric of each kind, space and number of images that trials were scored by, in their order."""
    found: dict[str, Metric] = {}
    for trial in trials:
        for scoring in trial.curve:
            for metric in scoring.metrics:
                found.setdefault(metric.name, metric)
    return list(found.values())


def write_leaderboard(study: Study[SearchSettings], trials: Sequence[Trial]) -> Path:
    """Write leaderboard.csv: a line for each trial, the best first."""
    names, points = list(flat(metric_columns(trials))), _point_names(trials)
    file = study.folder / LEADERBOARD
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["rank", "trial", "outcome", "score", *names, *points, "updates", "kept_update", "seconds", "reason"]
        )
        for rank, trial in enumerate(ranked(trials), 1):
            kept = trial.kept
            last = flat(kept.metrics) if kept else {}
            writer.writerow(
                [
                    rank,
                    trial.number,
                    trial.outcome,
                    _cell(kept.score if kept else None),
                    *(_cell(last.get(name)) for name in names),
                    *(_cell(trial.point.get(name), "none") for name in points),
                    trial.updates,
                    _cell(kept.update if kept else None),
                    f"{trial.seconds:.1f}",
                    trial.reason,
                ]
            )
    return file


def _point_names(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.point))


def _cell(value: Scalar, absent: str = "") -> str:
    if value is None:
        return absent
    return f"{value:.6g}" if isinstance(value, float) else str(value)


NARROW = 120  # columns of a terminal below which a trial's settings have a line of their own


def write_table(console: Console, trials: Sequence[Trial]) -> None:
    """Print the trials, the best first, in no more columns than the console has."""
    columns = [metric for metric in metric_columns(trials) if metric.kind == "kid"]
    narrow = console.width < NARROW
    table = ConsoleTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("#", "trial", "outcome", "kept of", "score", *map(_title, columns)):
        table.add_column(heading, no_wrap=True)
    if not narrow:
        table.add_column("setting", overflow="fold")
    for rank, trial in enumerate(ranked(trials), 1):
        kept = f"{_kept(trial)}/{trial.updates}" if trial.kept else "0"
        cells = [str(rank), f"{trial.number:03d}", trial.outcome, kept, _score(trial)]
        cells += _measured(trial, columns)
        table.add_row(*cells, *([] if narrow else [trial.reason or point_text(trial.point)]))
    console.print(table, soft_wrap=False)
    if narrow:
        for trial in ranked(trials):
            console.print(f"{trial.number:03d}: {trial.reason or point_text(trial.point)}", markup=False)


def trial_table(trials: Sequence[Trial], baseline: Metrics, against: Mapping[int, str] | None = None) -> Table:
    """Return the trials as a table, the best first and the base model last.

    Args:
        trials: All of them.
        baseline: The base model's scores; none if there are none yet.
        against: How trials stand to the best, in a word, by number.
    """
    columns, points, against = metric_columns(trials), _point_names(trials), against or {}
    settings = [name.replace("_", " ") for name in points]
    head = ("rank", "trial", "outcome", "score", "against the best", *settings, *map(_title, columns), "updates",
            "kept", "seconds")  # fmt: skip
    rows = []
    for rank, trial in enumerate(ranked(trials), 1):
        cells = [f"{rank}", f"{trial.number:03d}", trial.outcome, _score(trial), against.get(trial.number, "")]
        values = (trial.point.get(name) for name in points)
        cells += ["" if value is None else short(value) for value in values]
        rows.append((*cells, *_measured(trial, columns), str(trial.updates), _kept(trial), f"{trial.seconds:.0f}"))
    if baseline:
        measured = (with_error(find(baseline, each.kind, each.space)) for each in columns)
        rows.append(("", "base", "", "1", "", *("" for _ in points), *measured, "0", "", ""))
    return Table(head, rows, ("outcome", "against the best", *settings))


def _title(metric: Metric) -> str:
    return " ".join(str(part) for part in (WORDS[metric.kind], metric.space, metric.images) if part is not None)


def _score(trial: Trial) -> str:
    return f"{trial.kept.score:.4g}" if trial.kept else ""


def _kept(trial: Trial) -> str:
    """The update of the state that is kept, which the numbers of a row are of."""
    return str(trial.kept.update) if trial.kept else ""


def _measured(trial: Trial, columns: Sequence[Metric]) -> list[str]:
    last = trial.kept.metrics if trial.kept else ()
    return [with_error(find(last, each.kind, each.space)) for each in columns]
