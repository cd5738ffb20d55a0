"""A comparison in words and tables: Markdown for people, CSV for programs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from tune.ablation.comparison import PAPER_METRICS, Column, Comparison
from tune.ablation.paper_tables import Number, not_run, numbers_of
from tune.scoring.estimate import BEST, TIE, Estimate
from tune.study.format import plus_minus

_MARK = {BEST: "**{}**", TIE: "{} ≈"}
_COLUMNS = ("row", "steps", "metric", "space", "role", "mean", "spread", "spread_is", "seeds", "images", "verdict",
            "paper", "status")  # fmt: skip


def caption(compared: Comparison) -> str:
    """Say what was compared and how."""
    grid = compared.grid
    c = grid.config
    varied = {name for row in grid.rows for name in row.settings}
    o = c.optimization
    words = {"updates": f"{o.updates} updates", "batch": f"batch {o.batch}",
             "learning_rate": f"learning rate {o.learning_rate:g}"}  # fmt: skip
    shared = ", ".join(text for name, text in words.items() if name not in varied)
    seeds = "one seed" if len(grid.seeds) == 1 else f"{len(grid.seeds)} seeds"
    how = f"Data set {c.dataset}; {shared}{', ' if shared else ''}{seeds}"
    fresh = (
        f"Scores are of {grid.images} images of each exported model, from noise that no model was trained or chosen "
        "by, the same for all rows of a seed."
    )
    return " ".join([f"{how}; columns are budgets, in network evaluations an image.", *grid.notes, fresh])


def _legend(compared: Comparison) -> str:
    if len(compared.grid.seeds) == 1:
        numbers = "Numbers are ± one standard error over images (only KID has one)."
        test = (
            "by a z-test of KID's standard errors at two-sided 5 %, which is blind to the noise of training; "
            "for other measures no test is made with one seed"
        )
    else:
        numbers = (
            "Numbers are means over seeds, of training and of noise (of the base model: of noise alone), ± half "
            "of their 95 % interval (Student's t)."
        )
        test = "by Welch's t-test over seeds at two-sided 5 %, without correction for the number of comparisons"
    return (
        f"{numbers} Bold: the best of its column; ≈: tied with it, {test}. † trained on this feature space; without †, "
        "it is held out. Smaller is better, but for precision, recall and Inception Score; a KID that is not clear of "
        "zero can't be told from real images'."
    )


def headline(compared: Comparison) -> list[str]:
    """Say for each feature space and budget, a line each, which row has the best KID and which are tied with it."""
    found = []
    for space in compared.grid.spaces:
        for steps in compared.grid.steps:
            said = list(zip(compared.grid.rows, compared.verdicts(Column("kid", space), steps), strict=True))
            best = [row.label for row, verdict in said if verdict == BEST]
            tied = [row.label for row, verdict in said if verdict == TIE]
            if best:
                words = f"tied with {' and '.join(tied)}" if tied else "no other is tied with it"
                found.append(f"Best KID in {space} with {steps} evaluations: {best[0]}; {words}.")
    return found or ["Nothing was scored."]


def write_markdown(folder: Path, compared: Comparison) -> Path:
    """Write <name>.md and return it."""
    grid = compared.grid
    parts = [
        f"# {grid.title}",
        caption(compared),
        "\n".join(f"* {line}" for line in headline(compared)),
        _legend(compared),
        f"![{grid.title}]({grid.name}.png)",
    ]
    parts += [_table(compared, column) for column in compared.columns]
    if grid.changes:
        parts += [_changes(compared)]
    parts += [*_gaps(compared), *_not_run(compared), _settings(compared)]
    file = folder / f"{grid.name}.md"
    file.write_text("\n\n".join(parts) + "\n")
    return file


def _heading(compared: Comparison, column: Column) -> str:
    role = compared.role(column)
    return f"## {column.title}{f', {role}' if role else ''}"


def _lines(compared: Comparison, cells: list[list[str]]) -> list[str]:
    steps = compared.grid.steps
    head = "| | " + " | ".join(f"{each} evaluations" for each in steps) + " |"
    rows = zip(compared.grid.rows, cells, strict=True)
    return [head, "|---" + "|--:" * len(steps) + "|", *(f"| {row.label} | {' | '.join(line)} |" for row, line in rows)]


def _table(compared: Comparison, column: Column) -> str:
    grid, space = compared.grid, column.network
    said = {steps: compared.verdicts(column, steps) for steps in grid.steps}
    cells = []
    for number, row in enumerate(grid.rows):
        dagger = " †" if space in grid.trained(row) else ""
        line = []
        for steps in grid.steps:
            estimate, paper = compared.estimate(column, number, steps), compared.paper(column, number, steps)
            text = _cell(compared, estimate, (number, steps), said[steps][number], dagger)
            line.append(f"{text} (paper {paper})" if paper else text)
        cells.append(line)
    return "\n".join([_heading(compared, column), "", *_lines(compared, cells)])


def _cell(compared: Comparison, estimate: Estimate | None, place: tuple[int, int], verdict: str, dagger: str) -> str:
    if estimate is None:
        return "failed" if any("failed" in gap for gap in compared.gaps.get(place, ())) else "–"
    text = _MARK.get(verdict, "{}").format(plus_minus(estimate.mean, estimate.spread)) + dagger
    count, seeds = len(estimate.values), len(compared.grid.seeds)
    return text if count == seeds else f"{text} ({count} of {seeds} seeds)"


def _changes(compared: Comparison) -> str:
    """Changes of FID against the base model, as the paper's Table V has them."""
    parts = ["## Change of FID against the base model"]
    for column in compared.columns:
        if column.kind == "fid":
            cells = [
                [_change(compared, column, number, steps) for steps in compared.grid.steps]
                for number in range(len(compared.grid.rows))
            ]
            parts.append("\n".join([f"In {column.space} features:", "", *_lines(compared, cells)]))
    return "\n\n".join(parts)


def _change(compared: Comparison, column: Column, row: int, steps: int) -> str:
    if not compared.grid.rows[row].finetuned:
        return ""
    base = compared.base_row(row)
    one = compared.estimate(column, row, steps)
    other = None if base is None else compared.estimate(column, base, steps)
    paper = [compared.paper(column, place, steps) for place in (row, base) if place is not None]
    text = "–" if one is None or other is None else f"{_percent(one.mean, other.mean)}"
    numbers = [float(value) for value in paper if value is not None]
    return f"{text} (paper {_percent(*numbers)})" if len(numbers) == 2 else text


def _percent(one: float, other: float) -> str:
    return f"{100 * (one / other - 1):+.1f} %"


def _gaps(compared: Comparison) -> list[str]:
    lines = [
        f"* {compared.grid.rows[row].label}, {steps} evaluations, {gap}; `--resume` tries it again"
        for (row, steps), gaps in compared.gaps.items()
        for gap in gaps
    ]
    return ["## Missing\n\n" + "\n".join(lines)] if lines else []


def _left_out(compared: Comparison) -> list[Number]:
    numbers = numbers_of(compared.grid.table, compared.grid.config.dataset)
    numbers = tuple(number for number in numbers if not number.metric.endswith("change_pct"))
    measured = [PAPER_METRICS[column] for column in compared.columns if column in PAPER_METRICS]
    return not_run(numbers, [row.paper for row in compared.grid.rows], measured)


def _not_run(compared: Comparison) -> list[str]:
    """List the paper's numbers of what was not run here."""
    grid, left = compared.grid, _left_out(compared)
    if grid.table is None:
        return []
    if not numbers_of(grid.table, grid.config.dataset):
        return [f"The paper's Table {grid.table} is not on {grid.config.dataset}; its numbers are left out."]
    images = "" if grid.images == 50_000 else " FID grows as its number of images falls: the paper's are from 50000."
    words = [f"Numbers of the paper are those printed there, Table {grid.table} (arXiv 2301.07969).{images}"]
    if left:
        budgets = sorted({number.steps for number in left})
        head = ["not run here; the paper's numbers", "metric", *(f"{each} evaluations" for each in budgets)]
        lines = [f"| {' | '.join(head)} |", "|---|---" + "|--:" * len(budgets) + "|"]
        for method, metric in dict.fromkeys((number.method, number.metric) for number in left):
            values = {n.steps: n.value for n in left if (n.method, n.metric) == (method, metric)}
            lines.append(f"| {method} | {metric} | " + " | ".join(values.get(s, "") for s in budgets) + " |")
        words.append("\n".join(lines))
    return ["## The paper's numbers\n\n" + "\n\n".join(words)]


def _settings(compared: Comparison) -> str:
    grid = compared.grid
    varied = {"steps", "seed", *(name for row in grid.rows if row.finetuned for name in row.settings)}
    shared = {name: value for name, value in grid.config.flat().items() if name not in varied}
    lines = [f"| {name} | {'none' if value is None else value} |" for name, value in shared.items()]
    return "\n".join(["## What all rows share", "", "| setting | value |", "|---|---|", *lines])


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
