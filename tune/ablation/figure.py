"""The figure of a comparison: scores over the budget, a panel for each of them, a line for each row."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import draw_scores
from mmd_ddm.evaluation.metrics import MORE_IS_BETTER, WORDS
from tune.ablation.comparison import Comparison


def draw_grid(folder: Path, compared: Comparison) -> Path | None:
    """Draw <name>.png and return it; None if nothing was scored."""
    if not compared.scores:
        return None
    file = folder / f"{compared.grid.name}.png"
    grid, looks = compared.grid, style.looks({row.label: row.finetuned for row in compared.grid.rows})
    with style.panels(file, len(compared.columns), columns=2, height=3.2) as (figure, panels):
        for panel, column in zip(panels, compared.columns, strict=True):
            space = column.network
            lines: dict[str, list[tuple[int, float, float]]] = {row.label: [] for row in grid.rows}
            for (number, row), steps in product(enumerate(grid.rows), grid.steps):
                if (found := compared.estimate(column, number, steps)) is not None:
                    lines[row.label].append((steps, found.mean, found.spread or 0.0))
            name = f"{WORDS[column.kind]} ({'more' if column.kind in MORE_IS_BETTER else 'less'} is better)"
            hollow = [row.label for row in grid.rows if space not in grid.trained(row)]
            draw_scores(panel, name, lines, looks, hollow=hollow)
            panel.set_title(f"{space} features ({compared.role(column) or 'filled: trained on'})")
        style.legend(figure)
        figure.suptitle(grid.title)
    return file
