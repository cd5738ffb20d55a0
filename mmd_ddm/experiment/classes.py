"""The classes of a model and those of the images that it is compared with: one and the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.finetuning.names import FRECHET, JOINT, MARGINAL

if TYPE_CHECKING:
    from mmd_ddm.data.images import ImageSet


def class_counts(classes: int, images: ImageSet, null_class: int | None = None) -> tuple[int, ...]:
    """How many real images there are of each class of a class-conditional model.

    Args:
        classes: of the model.
        images: with labels.
        null_class: of a model that can be guided, which may have more classes than the images: it has 1000 because
            `DiTPipeline` takes 1000 for the label of none.

    Raises:
        UserError: the images have no labels, or the model has another number of classes.
    """
    from mmd_ddm.diffusion.labels import count_classes  # PyTorch, for which what is refused before need not wait

    if images.labels is None:
        raise UserError(
            f"the model is class-conditional with {classes} classes, but the images of {images.name} have no labels; "
            "name images with labels (a folder for each class, or a column of Parquet files), or an unconditional model"
        )

    counts = count_classes(images.labels)
    if len(counts) > classes or (len(counts) < classes and null_class is None):
        raise UserError(
            f"the model has {classes} classes, but the labels of {images.name} are from 0 to {len(counts) - 1}; name "
            "the images that the model was trained on, or others with the same classes"
        )
    return counts


def matches_pairs(config: Config, classes: int | None) -> bool:
    """Whether a run's loss compares pairs of image and label, given the number of its base model's classes.

    Raises:
        UserError: it is asked to, but the model is unconditional.
    """
    c = config.objective
    if c.matching == JOINT and classes is None:
        raise UserError(
            f"matching is {JOINT}, but the base model is not class-conditional: its images have no labels; leave it out"
        )
    return classes is not None and c.matching != MARGINAL and c.loss != FRECHET
