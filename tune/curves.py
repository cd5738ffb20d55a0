"""The figure of a study: KID over updates, a panel for each feature space and a line for each trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tune.leaderboard import metric_names, ranked
from tune.progress import point_text
from tune.study import COMPLETED, Study, TrialRecord

CURVES = "curves.png"


def draw_curves(study: Study, trials: Sequence[TrialRecord], baseline: Mapping[str, float]) -> Path | None:
    """Draw KID over updates, a panel for each feature space and a line for each trial; None without evaluations."""
    names = [name for name in metric_names(trials) if name.startswith("kid_") and not name.endswith("_stderr")]
    if not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 3.4 + 0.22 * len(trials)
    figure = Figure(figsize=(4.6 * len(names), height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        _draw_panel(panel, name, trials, baseline.get(name))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", fontsize=8, frameon=False)
    file = study.folder / CURVES
    figure.savefig(file, dpi=130)
    return file


def _draw_panel(panel: Any, name: str, trials: Sequence[TrialRecord], base: float | None) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    colours = colormaps["tab10" if len(trials) <= 10 else "tab20"]
    start = [(0, base)] if base is not None else []
    for trial in ranked(trials):
        points = start + [(row["update"], row[name]) for row in trial.curve if name in row]
        whole = trial.outcome == COMPLETED
        panel.plot(
            [update for update, _ in points],
            [value for _, value in points],
            color=colours(trial.number % colours.N),
            linestyle="-" if whole else "--",
            marker="o",
            markersize=3,
            linewidth=1.6 if whole else 1.0,
            label=f"{trial.number:03d} {trial.outcome}: {point_text(trial.point)}",
        )
    if base is not None:
        panel.axhline(base, color="0.5", linestyle=":", linewidth=1, label="base model at this budget")
    rows = [row for trial in trials for row in trial.curve if name in row]
    if all(row[name] > 0 for row in rows):
        panel.set_yscale("log")
    else:  # an unbiased estimate may fall below zero; what is smaller than its error is drawn linearly
        panel.set_yscale("symlog", linthresh=max(median(row.get(f"{name}_stderr", 0) for row in rows), 1e-9))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("optimizer updates")
    panel.set_title(f"KID, {name.removeprefix('kid_')} features", fontsize=10)
    panel.grid(alpha=0.3, which="both", linewidth=0.4)
