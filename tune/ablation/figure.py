"""The figure of a comparison: scores over the budget, a panel for each of them, a line for each row."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import draw_scores
from tune.ablation.comparison import NAMES, Comparison, kind_of, space_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_grid(folder: Path, compared: Comparison) -> Path | None:
    """Draw <name>.png and return it; None if nothing was scored."""
    if not compared.scores:
        return None
    file = folder / f"{compared.grid.name}.png"
    with style.panels(file, len(compared.metrics), columns=2, height=3.2) as (figure, panels):
        for panel, metric in zip(panels, compared.metrics, strict=True):
            _draw_panel(panel, compared, metric)
        style.legend(figure)
        figure.suptitle(compared.grid.title)
    return file


def _draw_panel(panel: Axes, compared: Comparison, metric: str) -> None:
    grid, kind, space = compared.grid, kind_of(metric), space_of(metric)
    lines: dict[str, list[tuple[int, float, float]]] = {row.label: [] for row in grid.rows}
    for (number, row), steps in product(enumerate(grid.rows), grid.steps):
        if (found := compared.estimate(metric, number, steps)) is not None:
            lines[row.label].append((steps, found.mean, found.spread or 0.0))
    better = "less" if kind in ("kid", "fid", "sfid") else "more"
    draw_scores(
        panel,
        f"{NAMES[kind]} ({better} is better)",
        lines,
        style.looks({row.label: row.finetuned for row in grid.rows}),
        hollow=[row.label for row in grid.rows if space not in grid.trained(row)],
    )
    trained = [space in grid.trained(row) for row in grid.rows if row.finetuned]
    role = " (trained on)" if all(trained) else " (filled: trained on)" if any(trained) else " (held out)"
    panel.set_title(f"{space} features{role}")
