"""From the name of a feature space to the space."""

from __future__ import annotations

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.listing import is_published
from mmd_ddm.features.published.load import load_published
from mmd_ddm.features.published.preprocessing import EVALUATION, PUBLISHED, preprocessing_of
from mmd_ddm.features.registry import check_feature_space, trained_file
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.trained.load import load_trained
from mmd_ddm.features.untrained.listing import UNTRAINED
from mmd_ddm.features.untrained.load import load_untrained


def load_feature_space(
    name: str, dataset: str, preprocessing: str = "evaluation", image_shape: tuple[int, int, int] | None = None
) -> FeatureSpace:
    """Load a feature space.

    Args:
        name: One of `available_feature_spaces(dataset)`, `open_clip:MODEL/TAG` or `timm:MODEL`.
        dataset: Name of the data set whose images it will be given.
        preprocessing: What is done to images before a published network (see `preprocessing.TABLE`): "evaluation",
            or "published" as in the paper's code. The project's own networks need none.
        image_shape: Channels, height and width of the images, which spaces without training are built for.

    Returns:
        The feature space, on the processor. Spaces of one published network share its weights in memory, so that what
        is done to one (a move to a device) is done to all; copy before changing.

    Raises:
        UserError: If no feature space of that name fits the data set, its weights are missing or damaged, or it has
            no such preprocessing.
        ValueError: If the space is built for a shape, and none is given.
    """
    if is_published(name):
        return load_published(name, preprocessing)
    check_feature_space(name, dataset, image_shape)
    if preprocessing == PUBLISHED:
        raise UserError(f"{name!r} takes images as they are; use preprocessing {EVALUATION!r}.")
    preprocessing_of(name, preprocessing)  # refuses what is neither
    if name not in UNTRAINED:
        return load_trained(trained_file(name, dataset), name)
    if image_shape is None:
        raise ValueError(f"{name!r} is built for images of one shape; give image_shape.")
    return load_untrained(name, image_shape)
