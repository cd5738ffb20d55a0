"""The figure of a study: KID over updates, a panel for each feature space and a line for each trial."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import score_axis
from tune.report.leaderboard import metric_names
from tune.scoring.final_scores import BASE, Row, Subject
from tune.scoring.ranking import ranked
from tune.study.console import point_text
from tune.study.folder import COMPLETED, Study, TrialRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = "curves.png"
SAMPLING = ("sampler", "steps", "schedule", "eta", "variance")
DASHES = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 2, 1, 2)))
DIVERGED = 5  # times the base model's KID: what is above may leave the panel, whose range the others decide


def draw_curves(
    study: Study, trials: Sequence[TrialRecord], baseline: Mapping[str, float], rows: Sequence[Row]
) -> Path | None:
    """Draw KID over updates, and the base model's KIDs as levels; None without evaluations.

    Args:
        study: Where the figure is kept.
        trials: A line for each.
        baseline: The base model's scores on the noise of the trials, where the lines start.
        rows: The final scores, for the base model's levels at larger budgets.
    """
    names = [name for name in metric_names(trials) if name.startswith("kid_") and not name.endswith("_stderr")]
    if not names:
        return None
    first = study.settings.first
    steps = int(first["steps"])
    levels = {steps: baseline} if baseline else {}
    larger = (row for row in rows if row.subject == Subject(BASE, row.subject.steps) and row.subject.steps > steps)
    levels |= {row.subject.steps: row.scores for row in larger}
    # a trial that samples as the first one does starts from the base model's scores
    like_base = {
        trial.number for trial in trials if all(trial.point.get(name) in (None, first.get(name)) for name in SAMPLING)
    }
    file = study.folder / CURVES
    with style.panels(file, len(names), height=2.9) as (figure, panels):
        for panel, name in zip(panels, names, strict=True):
            _draw_panel(panel, name, trials, dict(sorted(levels.items())), like_base)
        panels[-1].set_xlabel("optimizer updates")
        style.legend(figure)
    return file


def _draw_panel(
    panel: Axes,
    name: str,
    trials: Sequence[TrialRecord],
    levels: Mapping[int, Mapping[str, float]],
    like_base: Collection[int],
) -> None:
    from matplotlib.ticker import MaxNLocator

    start = [(0, scores[name]) for scores in list(levels.values())[:1]]
    looks = style.looks({str(trial.number): True for trial in ranked(trials)})
    for trial in ranked(trials):
        points = start if trial.number in like_base else []
        points = points + [(row["update"], row[name]) for row in trial.curve if name in row]
        whole, look = trial.outcome == COMPLETED, looks[str(trial.number)]
        look["markersize"], look["linestyle"] = 4, "-" if whole else ":"
        label = f"{trial.number:03d} {trial.outcome}: {point_text(trial.point)}"
        updates, values = [update for update, _ in points], [value for _, value in points]
        panel.plot(updates, values, label=label, linewidth=1.6 if whole else 1.0, **look)
    for dash, (steps, scores) in zip(DASHES, levels.items(), strict=False):
        panel.axhline(scores[name], color="0.35", linestyle=dash, linewidth=1, label=f"base model, {steps} evaluations")
    measured = [row for trial in trials for row in trial.curve if math.isfinite(row.get(name, math.nan))]
    known = [scores[name] for scores in levels.values()]
    top = DIVERGED * max(known) if known and max(known) > 0 else math.inf
    values = [min(top, value) for value in (*(row[name] for row in measured), *known)]
    errors = [min(top, row.get(f"{name}_stderr", 0.0)) for row in measured]
    score_axis(panel, "KID (less is better)", values, errors)
    panel.set_title(f"{name.removeprefix('kid_')} features")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
