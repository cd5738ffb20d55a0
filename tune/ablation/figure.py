"""The figure of a comparison: KID and FID over the budget, a panel for each feature space, a line for each row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmd_ddm.evaluation.metrics import WORDS
from tune.ablation.comparison import Column, Comparison

_SPREAD = 0.06  # of neighbouring points, in columns


def draw_grid(folder: Path, compared: Comparison) -> Path | None:
    """Draw <name>.png and return it; None if nothing was scored."""
    if not compared.scores:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = compared.grid
    kinds = dict.fromkeys(column.kind for column in compared.columns)
    lines = [[column for column in compared.columns if column.kind == kind] for kind in kinds]
    size = (4.8 * len(grid.spaces), 3.1 * len(lines) + 0.2 * len(grid.rows))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(lines), len(grid.spaces), squeeze=False)
    for line, metrics in zip(panels, lines, strict=True):
        for panel in line[len(metrics) :]:
            panel.set_axis_off()
        for panel, metric in zip(line, metrics, strict=False):
            _draw_panel(panel, compared, metric)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", fontsize=8, frameon=False)
    figure.suptitle(grid.title, fontsize=11)
    file = folder / f"{grid.name}.png"
    figure.savefig(file, dpi=130)
    return file


def _draw_panel(panel: Any, compared: Comparison, metric: Column) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    grid, colours, bases, space = compared.grid, colormaps["tab10"], 0, metric.network
    lowest = []
    for number, row in enumerate(grid.rows):
        found = [(x, compared.estimate(metric, number, steps)) for x, steps in enumerate(grid.steps)]
        points = [(x, each.mean, each.spread or 0.0) for x, each in found if each is not None]
        shift = _SPREAD * (number - (len(grid.rows) - 1) / 2)
        bases += not row.finetuned
        panel.errorbar(
            [x + shift for x, _, _ in points],
            [mean for _, mean, _ in points],
            [spread for _, _, spread in points],
            label=row.label,
            color=colours((number - bases) % colours.N) if row.finetuned else str(0.25 + 0.2 * ((bases - 1) % 3)),
            linestyle="-" if row.finetuned else "--",
            marker="o" if space in grid.trained(row) else "s",
            markerfacecolor=None if space in grid.trained(row) else "white",
            markersize=4,
            linewidth=1.3,
            capsize=2.5,
        )
        lowest += [mean - spread for _, mean, spread in points]
    if min(lowest) > 0:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    else:
        panel.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    panel.set_xticks(range(len(grid.steps)), [str(steps) for steps in grid.steps])
    panel.set_xlim(-0.5, len(grid.steps) - 0.5)
    panel.set_xlabel("network evaluations an image")
    trained = [space in grid.trained(row) for row in grid.rows if row.finetuned]
    role = " (trained on)" if all(trained) else "" if any(trained) else " (held out)"
    panel.set_title(f"{WORDS[metric.kind]}, {space} features{role}", fontsize=10)
    panel.grid(alpha=0.3, linewidth=0.4)
