"""The figure of images: real ones, and those that each model makes of the same noise, a labelled row for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmd_ddm.evaluation.figures import style
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.scoring.final_scores import sheet_file
from tune.study.folder import Study
from tune.study.settings import SearchSettings

SAMPLES = "samples.png"


def draw_samples(study: Study[SearchSettings], rows: Sequence[Scored]) -> Path | None:
    """Stack the sheets of what was scored, each under its title; None without any."""
    sheets = {row.label: sheet_file(study, row) for row in rows}
    sheets = {title: file for title, file in sheets.items() if file.is_file()}
    if not sheets:
        return None
    from matplotlib.image import imread

    images = {title: imread(file) for title, file in sheets.items()}
    height = style.WIDTH * max(image.shape[0] / image.shape[1] for image in images.values()) + 0.3
    with style.panels(study.folder / SAMPLES, len(images), height=height) as (_, panels):
        for panel, (title, image) in zip(panels, images.items(), strict=True):
            small = image.shape[1] < style.WIDTH * style.DENSITY
            panel.imshow(image, interpolation="nearest" if small else "auto")
            panel.set_title(title, loc="left")
            panel.set_axis_off()
    return study.folder / SAMPLES
