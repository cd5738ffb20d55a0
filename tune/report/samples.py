"""The figure of images: real ones, and those that each model makes of the same noise, a labelled row for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.scoring.final_scores import sheet_file
from tune.study.folder import Study
from tune.study.settings import SearchSettings

SAMPLES = "samples.png"


def draw_samples(study: Study[SearchSettings], rows: Sequence[Scored]) -> Path | None:
    """Stack the sheets of what was scored, each under its title; None without any."""
    sheets = [(row.label, sheet_file(study, row)) for row in rows]
    sheets = [(title, file) for title, file in sheets if file.is_file()]
    if not sheets:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.image import imread

    images = [imread(file) for _, file in sheets]
    width = 8.0
    heights = [width * image.shape[0] / image.shape[1] + 0.35 for image in images]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sheets), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, _), image in zip(panels, sheets, images, strict=True):
        panel.imshow(image, interpolation="nearest")
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_axis_off()
    figure.savefig(study.folder / SAMPLES, dpi=130)
    return study.folder / SAMPLES
