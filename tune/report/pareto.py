"""Two objectives at once: the trials of which none is both better and cheaper, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tune.scoring.estimate import Estimate
from tune.scoring.ranking import front
from tune.study.folder import Study, Trial
from tune.study.settings import SearchSettings

PARETO = "pareto.png"


def draw_front(
    study: Study[SearchSettings],
    trials: Sequence[Trial],
    scores: Mapping[int, Estimate],
    base: Sequence[tuple[int, Estimate]],
) -> Path | None:
    """Draw score against network evaluations: complete trials, their front, and the base model.

    Args:
        study: Where the figure is kept.
        trials: All of the study's.
        scores: Of the complete ones, with errors, by number.
        base: The base model's scores by budget; none if it was not scored.

    Returns:
        The figure; None without a complete trial.
    """
    best = front(trials)
    if not best:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    if base:
        panel.plot(*zip(*((steps, each.mean) for steps, each in base), strict=True), color="0.45", linestyle="--",
                   marker="s", markersize=4, linewidth=1, label="base model")  # fmt: skip
    dominated = [trial for trial in trials if trial.number in scores and trial not in best]
    for group, style in ((dominated, {"color": "0.6"}), (best, {"color": "tab:blue", "zorder": 3})):
        if group:
            panel.errorbar([trial.steps for trial in group], [scores[trial.number].mean for trial in group],
                           [scores[trial.number].errors[0] for trial in group], fmt="o", markersize=5, capsize=2,
                           elinewidth=0.8, label="front" if group is best else "beaten trials", **style)  # fmt: skip
    line = [(trial.steps, scores[trial.number].mean) for trial in best]
    panel.plot(*zip(*line, strict=True), color="tab:blue", drawstyle="steps-post")
    for trial in best:
        panel.annotate(f"{trial.number:03d}", (trial.steps, scores[trial.number].mean), xytext=(6, 5),
                       textcoords="offset points", fontsize=9)  # fmt: skip
    panel.set_xscale("log")
    shown = sorted({*(trial.steps for trial in trials), *(steps for steps, _ in base)})
    panel.xaxis.set_major_locator(FixedLocator(shown))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    panel.set_xlabel("network evaluations an image")
    panel.set_ylabel("score (smaller is better)")
    panel.grid(alpha=0.3, linewidth=0.4)
    panel.legend(fontsize=9, frameon=False)
    file = study.folder / PARETO
    figure.savefig(file, dpi=130)
    return file
