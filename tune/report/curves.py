"""The figure of a study: KID over updates, a panel for each feature space and a line for each trial."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mmd_ddm.evaluation.metrics import Metric, Metrics, kids
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.report.leaderboard import metric_columns
from tune.scoring.final_scores import plain_base
from tune.scoring.ranking import ranked
from tune.study.folder import Outcome, Study, Trial
from tune.study.format import point_text
from tune.study.settings import SearchSettings

CURVES = "curves.png"
LONGEST = 116  # characters of a trial's line in the legend
DASHES = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 2, 1, 2)))


def draw_curves(
    study: Study[SearchSettings], trials: Sequence[Trial], baseline: Metrics, rows: Sequence[Scored]
) -> Path | None:
    """Draw KID over updates, and the base model's KIDs as levels; None without evaluations.

    Args:
        study: Where the figure is kept.
        trials: A line for each.
        baseline: The base model's scores on the noise of the trials, where the lines start.
        rows: The final scores, for the base model's levels at larger budgets.
    """
    names = [metric.space or "" for metric in metric_columns(trials) if metric.kind == "kid"]
    if not names:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = study.settings.first.sampler.steps
    levels = {steps: kids(baseline)} if baseline else {}
    levels |= {nfe: kids(row.metrics) for nfe, row in plain_base(rows).items() if nfe > steps}
    # one below another: a phone is narrow
    figure = Figure(figsize=(7, 3.1 * len(names) + 0.3 + 0.18 * (len(trials) + len(levels))), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    like_base = {trial.number for trial in trials if trial.config.sampler == study.settings.first.sampler}
    for panel, name in zip(panels, names, strict=True):
        _draw_panel(panel, name, trials, levels, like_base)
    panels[-1].set_xlabel("optimizer updates")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", fontsize=8, frameon=False)
    file = study.folder / CURVES
    figure.savefig(file, dpi=130)
    return file


def _label(trial: Trial) -> str:
    text = f"{trial.number:03d} {trial.outcome}: {point_text(trial.point)}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rpartition(',')[0]}, ..."


def _draw_panel(
    panel: Any,
    name: str,
    trials: Sequence[Trial],
    levels: Mapping[int, Mapping[str, Metric]],
    like_base: Collection[int],
) -> None:
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    colours = colormaps["tab10" if len(trials) <= 10 else "tab20"]
    start = [(0.0, scores[name].value) for _, scores in sorted(levels.items())[:1]]
    for trial in ranked(trials):
        points = start if trial.number in like_base else []
        points = points + [(each.update, kids(each.metrics)[name].value) for each in trial.curve]
        whole = trial.outcome == Outcome.COMPLETED
        panel.plot(
            [update for update, _ in points],
            [value for _, value in points],
            color=colours(trial.number % colours.N),
            linestyle="-" if whole else "--",
            marker="o" if whole else "x",
            markersize=3 if whole else 4,
            linewidth=1.6 if whole else 1.0,
            label=_label(trial),
        )
    for dash, (steps, scores) in zip(DASHES, sorted(levels.items()), strict=False):
        panel.axhline(
            scores[name].value, color="0.35", linestyle=dash, linewidth=1, label=f"base model, {steps} evaluations"
        )
    found = [kids(each.metrics)[name] for trial in trials for each in trial.curve]
    _scale(panel, [kid.value for kid in found], [kid.stderr or 0.0 for kid in found], levels, name)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_title(f"KID, {name} features", fontsize=10)
    panel.grid(alpha=0.3, linewidth=0.4)


def _scale(
    panel: Any, values: Sequence[float], errors: Sequence[float], levels: Mapping[int, Mapping[str, Metric]], name: str
) -> None:
    """Draw in logarithmic steps; what may be negative, since it is smaller than its error, linearly around zero."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, SymmetricalLogLocator

    values = [*values, *(scores[name].value for scores in levels.values())]
    smallest = max(median(errors), 1e-9) if errors else 1e-9
    if min(values) > smallest:
        panel.set_yscale("log", subs=range(2, 10))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        few = max(values) < 10 * min(values)  # perhaps no power of ten lies between them
        panel.yaxis.set_minor_formatter(FuncFormatter(_one_two_five) if few else NullFormatter())
        return
    panel.set_yscale("symlog", linthresh=smallest)
    # a trial that diverges may leave the panel; the others decide its range
    top = min(max(values), 5 * max(scores[name].value for scores in levels.values())) if levels else max(values)
    bottom = min(min(values), -smallest / 4)
    panel.set_ylim(1.5 * bottom, 1.5 * max(top, smallest))
    subs = (1,) if max(top, -bottom) > 1000 * smallest else (1, 2, 5)
    panel.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=smallest, subs=subs))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.axhline(0, color="0.8", linewidth=0.8, zorder=0)


def _one_two_five(value: float, _: int) -> str:
    text = f"{value:.1g}"
    return f"{value:g}" if text.strip("0.e-")[:1] in "125" else ""
