"""The figure of distances to the nearest real image, which shows whether a model copies its training images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mmd_ddm.evaluation.figures import style


def save_distances(models: Mapping[str, Tensor], real: Tensor, space: str, file: Path) -> Path:
    """Draw the distribution functions of the distances to the nearest real image as steps.

    The models' distances (N,) are given by name; a base model's begins with "base model". Those of real images (N',)
    are to their nearest other one. `space` says in words where they were measured.
    """
    with style.panels(file) as (figure, (panel,)):
        panel.ecdf(real.tolist(), color="black", linewidth=1.8, label="real images, to another one")
        looks = style.looks({title: not title.startswith("base model") for title in models})
        for title, distances in models.items():
            colour, line = looks[title]["color"], looks[title]["linestyle"]
            panel.ecdf(distances.tolist(), color=colour, linestyle=line, linewidth=1.8, label=title.replace("\n", ", "))
        # a few far away would squeeze the rest
        panel.set_xlim(0, 1.02 * max(float(each.quantile(0.99)) for each in (*models.values(), real)))
        panel.set(ylim=(0, 1.005), ylabel="share of images at most as far away")
        panel.set_xlabel(f"distance to the nearest real image, in {space}")
        style.legend(figure)
    return file
