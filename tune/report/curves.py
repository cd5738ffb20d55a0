"""The figure of a study: KID over updates, a panel for each feature space and a line for each trial."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import score_axis
from mmd_ddm.evaluation.metrics import Metric, Metrics, kids
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.report.leaderboard import metric_columns
from tune.report.render import plural
from tune.scoring.final_scores import plain_base
from tune.scoring.ranking import ranked
from tune.study.folder import Outcome, Study, Trial
from tune.study.format import point_text
from tune.study.settings import SearchSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVES = "curves.png"
DASHES = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 2, 1, 2)))
DIVERGED = 5  # times the base model's KID: what is above may leave the panel, whose range the others decide


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
    first = study.settings.first.sampler
    levels = {first.steps: kids(baseline)} if baseline else {}
    levels |= {nfe: kids(row.metrics) for nfe, row in plain_base(rows).items() if nfe > first.steps}
    # a trial that samples as the first one does starts from the base model's scores
    like_base = {trial.number for trial in trials if trial.config.sampler == first}
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
    trials: Sequence[Trial],
    levels: Mapping[int, Mapping[str, Metric]],
    like_base: Collection[int],
) -> None:
    from matplotlib.ticker import MaxNLocator

    start = [(0, scores[name].value) for scores in list(levels.values())[:1]]
    looks = style.looks({str(trial.number): True for trial in ranked(trials)})
    for trial in ranked(trials):
        points = start if trial.number in like_base else []
        points = points + [(each.update, kids(each.metrics)[name].value) for each in trial.curve]
        whole, look = trial.outcome is Outcome.COMPLETED, looks[str(trial.number)]
        look["markersize"], look["linestyle"] = 4, "-" if whole else ":"
        label = f"{trial.number:03d} {trial.outcome}: {point_text(trial.point)}"
        updates, values = [update for update, _ in points], [value for _, value in points]
        panel.plot(updates, values, label=label, linewidth=1.6 if whole else 1.0, **look)
    for dash, (steps, scores) in zip(DASHES, levels.items(), strict=False):
        label = f"base model, {plural(steps, 'evaluation')}"
        panel.axhline(scores[name].value, color="0.35", linestyle=dash, linewidth=1, label=label)
    measured = [kids(each.metrics)[name] for trial in trials for each in trial.curve]
    measured = [kid for kid in measured if math.isfinite(kid.value)]
    known = [scores[name].value for scores in levels.values()]
    top = DIVERGED * max(known) if known and max(known) > 0 else math.inf
    values = [min(top, value) for value in (*(kid.value for kid in measured), *known)]
    errors = [min(top, kid.stderr or 0.0) for kid in measured]
    score_axis(panel, "KID (less is better)", values, errors)
    panel.set_title(f"{name} features")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
