"""The figure of speed against quality: scores over the number of network evaluations an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import draw_scores

Estimate = tuple[float, float]  # a score and its standard error, or its mean and standard deviation


class Point(NamedTuple):
    """One model or sampler at one budget."""

    label: str  # points of one label are joined
    evaluations: int  # network evaluations an image
    scores: Mapping[str, Estimate]  # by feature space
    finetuned: bool = False


def save_curve(points: Sequence[Point], floors: Mapping[str, Estimate], file: Path) -> Path:
    """Draw KID over network evaluations as PNG, a panel for each feature space and a line for each label.

    Not every point needs a score in every space. Floors, means and standard deviations of the score between real
    images by feature space, are drawn as bands of one standard deviation to both sides.
    """
    spaces = list(dict.fromkeys(space for point in points for space in point.scores))
    looks = style.looks({point.label: point.finetuned for point in points})
    with style.panels(file, max(1, len(spaces)), columns=2, height=3.4) as (figure, panels):
        for panel, space in zip(panels, spaces, strict=False):
            lines: dict[str, list[tuple[int, float, float]]] = {}
            for point in points:
                if space in point.scores:
                    lines.setdefault(point.label, []).append((point.evaluations, *point.scores[space]))
            if band := [floors[space][0] + sign * floors[space][1] for sign in (-1, 1)] if space in floors else []:
                panel.axhspan(band[0], band[1], color="0.85", zorder=0, label="real images")
            draw_scores(panel, "KID (less is better)", lines, looks, seen=band)
            panel.set_title(f"{space} features")
        style.legend(figure)
    return file
