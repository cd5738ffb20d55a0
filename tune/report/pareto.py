"""Two objectives at once: the trials of which none is both better and cheaper, as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import draw_scores
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
    file = study.folder / PARETO
    groups = {
        "other trials": [trial for trial in trials if trial.number in scores and trial not in best],
        "front": best,
    }
    lines = {"base model": [(steps, each.mean, each.errors[0]) for steps, each in base]} | {
        label: [(trial.steps, scores[trial.number].mean, scores[trial.number].errors[0]) for trial in group]
        for label, group in groups.items()
    }
    looks = style.looks({"base model": False, "front": True})
    looks["front"]["linestyle"] = "none"
    looks = {"base model": looks["base model"], "other trials": looks["front"], "front": looks["front"]}
    with style.panels(file) as (figure, (panel,)):
        draw_scores(panel, "score (less is better)", lines, looks, hollow=["other trials"], beside=False)
        steps, means, _ = zip(*lines["front"], strict=True)
        panel.plot(steps, means, color=looks["front"]["color"], drawstyle="steps-post")
        for trial, place in zip(best, zip(steps, means, strict=True), strict=True):
            panel.annotate(f"{trial.number:03d}", place, xytext=(7, 6), textcoords="offset points")
        style.legend(figure)
    return file
