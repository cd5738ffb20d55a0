"""A comparison in words and tables: Markdown and a page for people, CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tune.ablation.comparison import PAPER_METRICS, Column, Comparison
from tune.ablation.figure import draw_grid
from tune.ablation.paper_tables import Number, not_run, numbers_of
from tune.report.render import Markdown, Table, joined, markdown, plural, write_both
from tune.scoring.estimate import BEST, TIE
from tune.study.format import plus_minus

_MARK = {BEST: "**{}**", TIE: "{} ≈"}
_COLUMNS = ("row", "steps", "metric", "space", "role", "mean", "spread", "spread_is", "seeds", "images", "verdict",
            "paper", "status")  # fmt: skip


def write_report(folder: Path, compared: Comparison) -> list[Path]:
    """Write <name>.md, .html, .csv and, if something was scored, .png; return them."""
    grid, figure = compared.grid, draw_grid(folder, compared)
    pages = write_both(folder / grid.name, report_text(compared, figure), grid.title)
    return [*pages, write_csv(folder, compared), *([figure] if figure else [])]


def report_text(compared: Comparison, figure: Path | None = None) -> str:
    """Return the report as Markdown.

    Args:
        compared: What is known of the grid.
        figure: Its figure, if there is one.
    """
    grid = compared.grid
    fids = [column for column in compared.columns if column.kind == "fid" and grid.changes]
    varied = {"steps", "seed", *(name for row in grid.rows if row.finetuned for name in row.settings)}
    return markdown(
        "ablation.md.jinja",
        {
            "grid": grid,
            "caption": caption(compared),
            "leads": _leads(compared),
            "figure": figure,
            "tables": {_heading(compared, column): _table(compared, column, _cell) for column in compared.columns},
            "changes": {column.space: _table(compared, column, _change) for column in fids},
            "gaps": [
                f"{grid.rows[row].label}, {plural(steps, 'evaluation')}, {gap}"
                for (row, steps), gaps in compared.gaps.items()
                for gap in gaps
            ],
            "printed": numbers_of(grid.table, grid.config.dataset),
            "not_run": _not_run(_left_out(compared)),
            "shared": {name: value for name, value in grid.config.flat().items() if name not in varied},
        },
    )


def caption(compared: Comparison) -> str:
    """Say what was compared and how."""
    grid = compared.grid
    c = grid.config
    varied = {name for row in grid.rows for name in row.settings}
    o = c.optimization
    words = {"updates": f"{o.updates} updates", "batch": f"batch {o.batch}",
             "learning_rate": f"learning rate {o.learning_rate:g}"}  # fmt: skip
    shared = ", ".join(text for name, text in words.items() if name not in varied)
    how = f"Data set {c.images_name}; {shared}{', ' if shared else ''}{plural(len(grid.seeds), 'seed')}"
    fresh = (
        f"Scores are of {grid.images} images of each exported model, from noise that no model was trained or chosen "
        "by, the same for all rows of a seed."
    )
    return " ".join([f"{how}; columns are budgets, in network evaluations an image.", *grid.notes, fresh])


class Lead(NamedTuple):
    """What has the best KID in a feature space, and half a sentence on what is tied with it."""

    best: str
    space: str
    others: str


def _leads(compared: Comparison) -> dict[Lead, str]:
    """Return with each lead the budgets at which it is so."""
    found: dict[Lead, list[str]] = {}
    for space in compared.grid.spaces:
        for steps in compared.grid.steps:
            said = list(zip(compared.grid.rows, compared.verdicts(Column("kid", space), steps), strict=True))
            tied = [row.label for row, verdict in said if verdict == TIE]
            others = f"tied with {joined(tied)}" if tied else "no other is tied with it"
            for row, verdict in said:
                if verdict == BEST:
                    found.setdefault(Lead(row.label, space, others), []).append(str(steps))
    return {lead: f"{joined(steps)} evaluation{'' if steps == ['1'] else 's'}" for lead, steps in found.items()}


def headline(compared: Comparison) -> list[str]:
    """Say for each feature space and its budgets which row has the best KID and which are tied with it."""
    leads = _leads(compared).items()
    lines = [f"Best KID in {lead.space} with {steps}: {lead.best}; {lead.others}." for lead, steps in leads]
    return lines or ["Nothing was scored."]


def _heading(compared: Comparison, column: Column) -> str:
    role = compared.role(column)
    return f"{column.title}{f', {role}' if role else ''}"


def _table(compared: Comparison, column: Column, cell: Callable[[Comparison, Column, int, int], str]) -> Table:
    grid = compared.grid
    rows = [
        (row.label, *(cell(compared, column, number, steps) for steps in grid.steps))
        for number, row in enumerate(grid.rows)
    ]
    return Table(("", *(plural(steps, "evaluation") for steps in grid.steps)), rows, ("",))


def _cell(compared: Comparison, column: Column, row: int, steps: int) -> str:
    """A row's score with its marks, which are Markdown; all else in it are numbers and words of our own."""
    grid, estimate = compared.grid, compared.estimate(column, row, steps)
    paper = compared.paper(column, row, steps)
    if estimate is None:
        text = "failed" if any("failed" in gap for gap in compared.gaps.get((row, steps), ())) else "–"
    else:
        text = _MARK.get(compared.verdicts(column, steps)[row], "{}").format(plus_minus(estimate.mean, estimate.spread))
        text += " †" if column.network in grid.trained(grid.rows[row]) else ""
        count = len(estimate.values)
        text += f" ({count} of {len(grid.seeds)} seeds)" if count < len(grid.seeds) else ""
    return Markdown(f"{text} (paper {paper})" if paper else text)


def _change(compared: Comparison, column: Column, row: int, steps: int) -> str:
    """The change of FID against the base model, as the paper's Table V has it."""
    if not compared.grid.rows[row].finetuned:
        return ""
    base = compared.base_row(row)
    one = compared.estimate(column, row, steps)
    other = None if base is None else compared.estimate(column, base, steps)
    paper = [compared.paper(column, place, steps) for place in (row, base) if place is not None]
    text = "–" if one is None or other is None else _percent(one.mean, other.mean)
    numbers = [float(value) for value in paper if value is not None]
    return f"{text} (paper {_percent(*numbers)})" if len(numbers) == 2 else text


def _percent(one: float, other: float) -> str:
    return f"{100 * (one / other - 1):+.1f} %"


def _left_out(compared: Comparison) -> list[Number]:
    """List the paper's numbers of what was not run here."""
    numbers = numbers_of(compared.grid.table, compared.grid.config.dataset)
    numbers = tuple(number for number in numbers if not number.metric.endswith("change_pct"))
    measured = [PAPER_METRICS[column] for column in compared.columns if column in PAPER_METRICS]
    return not_run(numbers, [row.paper for row in compared.grid.rows], measured)


def _not_run(left: list[Number]) -> Table | None:
    if not left:
        return None
    budgets, values = sorted({n.steps for n in left}), {(n.method, n.metric, n.steps): n.value for n in left}
    names = dict.fromkeys((n.method, n.metric) for n in left)
    rows = [(*name, *(values.get((*name, steps), "") for steps in budgets)) for name in names]
    words = ("not run here; the paper's numbers", "metric")
    return Table((*words, *(plural(steps, "evaluation") for steps in budgets)), rows, words)


def write_csv(folder: Path, compared: Comparison) -> Path:
    """Write <name>.csv, a line for each row, budget and metric, and return it."""
    file = folder / f"{compared.grid.name}.csv"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_records(compared))
        for n in _left_out(compared):
            writer.writerow(
                {"row": n.method, "steps": n.steps, "metric": n.metric, "paper": n.value, "status": "not run"}
            )
    return file


def _records(compared: Comparison) -> Iterator[dict[str, object]]:
    grid = compared.grid
    for column in compared.columns:
        kind, space = column.kind, column.network
        for steps in grid.steps:
            said = compared.verdicts(column, steps)
            for number, row in enumerate(grid.rows):
                estimate = compared.estimate(column, number, steps)
                role = "base model" if not row.finetuned else "trained" if space in grid.trained(row) else "held out"
                record = {"row": row.label, "steps": steps, "metric": kind, "space": space, "role": role,
                          "images": grid.images, "verdict": said[number],
                          "paper": compared.paper(column, number, steps) or "",
                          "status": "; ".join(compared.gaps.get((number, steps), ())) or "complete"}  # fmt: skip
                if estimate is not None:
                    record |= {"mean": f"{estimate.mean:.6g}", "seeds": len(estimate.values)}
                    if estimate.spread is not None:
                        several = len(estimate.values) > 1
                        record |= {"spread": f"{estimate.spread:.3g}",
                                   "spread_is": "half of 95 % interval" if several else "standard error"}  # fmt: skip
                yield record
