"""The figure of a comparison: scores over the budget, a panel for each of them, a line for each row."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import draw_scores
from tune.ablation.comparison import NAMES, Comparison, kind_of, space_of


def draw_grid(folder: Path, compared: Comparison) -> Path | None:
    """Draw <name>.png and return it; None if nothing was scored."""
    if not compared.scores:
        return None
    file = folder / f"{compared.grid.name}.png"
    grid, looks = compared.grid, style.looks({row.label: row.finetuned for row in compared.grid.rows})
    with style.panels(file, len(compared.metrics), columns=2, height=3.2) as (figure, panels):
        for panel, metric in zip(panels, compared.metrics, strict=True):
            kind, space = kind_of(metric), space_of(metric)
            lines: dict[str, list[tuple[int, float, float]]] = {row.label: [] for row in grid.rows}
            for (number, row), steps in product(enumerate(grid.rows), grid.steps):
                if (found := compared.estimate(metric, number, steps)) is not None:
                    lines[row.label].append((steps, found.mean, found.spread or 0.0))
            name = f"{NAMES[kind]} ({'less' if kind in ('kid', 'fid', 'sfid') else 'more'} is better)"
            hollow = [row.label for row in grid.rows if space not in grid.trained(row)]
            draw_scores(panel, name, lines, looks, hollow=hollow)
            trained = [space in grid.trained(row) for row in grid.rows if row.finetuned]
            role = " (trained on)" if all(trained) else " (filled: trained on)" if any(trained) else " (held out)"
            panel.set_title(f"{space} features{role}")
        style.legend(figure)
        figure.suptitle(grid.title)
    return file
