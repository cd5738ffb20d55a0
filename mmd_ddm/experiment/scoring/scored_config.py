"""By which configuration a model is scored: its real images and feature spaces; nothing is loaded."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from mmd_ddm.evaluation.names import spaces_of
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import scored_spaces
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.scoring.model_record import ModelRecord


def scored_config(
    record: ModelRecord,
    folder: Path,
    images: tuple[str | None, str | None, int | None],
    features: str | None,
    measures: Collection[str],
) -> Config:
    """Return the configuration that a model is scored by.

    Args:
        record: Of the model.
        folder: Of the model.
        images: Data set, path and resolution that are asked for; all None: what the model was finetuned on, or digits.
        features: Feature spaces joined by +; None: those that the finetuning named for these images, or the data set's.
        measures: Some of `MEASURES`, which may need spaces of their own.

    Raises:
        UserError: There are no such images or feature spaces.
    """
    which = record.images(*images)
    config = preset("paper", *which, features or record.scored_spaces(which)).replace(base_model=str(folder))
    return config.replace(score_features="+".join((*scored_spaces(config), *spaces_of(measures))))
