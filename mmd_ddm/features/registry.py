"""Feature spaces by name: those trained by the project, those without training, and the published ones."""

from __future__ import annotations

from pathlib import Path

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.listing import FORMS, PUBLISHED_NAMES, check_published, is_published, published_weights
from mmd_ddm.features.published.load import load_published
from mmd_ddm.features.published.preprocessing import EVALUATION, PUBLISHED, preprocessing_of
from mmd_ddm.features.published.weights import FOLDER, WeightsReport, find
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.trained.load import LAYERS, NAMES, SHIPPED, find_trained, load_trained, read_trained
from mmd_ddm.features.trained.quality import weakness
from mmd_ddm.features.untrained.load import UNTRAINED, check_untrained, load_untrained


def available_feature_spaces(dataset: str) -> tuple[str, ...]:
    """Return the names of the feature spaces that can be used for a data set.

    First those that were trained on the data set, shipped or in the folder that MMD_DDM_WEIGHTS names, then those that
    need no training, then the published ones, whose weights may still have to be downloaded. Beside them there are
    open_clip's and timm's models by name, `open_clip:MODEL/TAG` and `timm:MODEL`.
    """
    return (*(name for name in NAMES if find_trained(dataset, name)), *UNTRAINED, *PUBLISHED_NAMES)


def check_feature_space(name: str, dataset: str, image_shape: tuple[int, int, int] | None = None) -> None:
    """Refuse a feature space that doesn't exist for a data set; no weights are read or downloaded.

    Args:
        name: As for `load_feature_space`.
        dataset: Name of the data set.
        image_shape: Channels, height and width of its images, where they are known already.

    Raises:
        UserError: If there is no feature space of that name for the data set, or none for images of the shape.
    """
    if is_published(name):
        check_published(name)
    elif name in UNTRAINED:
        if image_shape is not None:
            check_untrained(name, image_shape)
    else:
        _trained_file(name, dataset)


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
        return load_trained(_trained_file(name, dataset), name)
    if image_shape is None:
        raise ValueError(f"{name!r} is built for images of one shape; give image_shape.")
    return load_untrained(name, image_shape)


def weights_of(name: str, dataset: str) -> WeightsReport:
    """Say where the weights of a feature space are, if they are there; nothing is read or downloaded.

    Raises:
        UserError: As `check_feature_space`.
    """
    check_feature_space(name, dataset)
    if is_published(name):
        published = published_weights(name)
        found = find(published)
        return WeightsReport(found, bool(found), published.source, found.stat().st_size if found else published.bytes)
    if name in UNTRAINED:
        return WeightsReport(None, True, "needs no weights", None)
    file = _trained_file(name, dataset)
    source = "shipped with mmd-ddm" if file.parent == SHIPPED else "mmd-ddm pretrain"
    return WeightsReport(file, True, source, file.stat().st_size)


def weakness_of(name: str, dataset: str) -> str | None:
    """Say in one sentence why a feature space that was trained here can't be trusted alone; None if it can, or isn't.

    Raises:
        UserError: As `check_feature_space`, or the file is damaged.
    """
    check_feature_space(name, dataset)
    return weakness(read_trained(_trained_file(name, dataset))) if name in NAMES else None


def other_images_of(name: str, dataset: str, fingerprint: str, given: bool) -> str | None:
    """Say in one sentence that a feature space was trained on other images than those of a fingerprint.

    None if it was trained on them, was not trained here, or its file doesn't say on what, and of a space that ships
    with a data set if the images are that set's: they may be a part of those that it was trained on.

    Args:
        name: As for `load_feature_space`.
        dataset: Name of the data set.
        fingerprint: Of the images.
        given: Whether the images are a user's in place of the data set's.

    Raises:
        UserError: As `check_feature_space`, or the file is damaged.
    """
    check_feature_space(name, dataset)
    if name not in NAMES:
        return None
    file = _trained_file(name, dataset)
    record = read_trained(file).record
    if record.get("fingerprint") in (None, fingerprint) or (file.parent == SHIPPED and not given):
        return None
    source = record.get("data") or record.get("dataset")
    return (
        f"Feature space {name!r} was trained on other images ({source}) than those it is used for here; its scores "
        f"tell less of these. Its weights are in {file}."
    )


def _trained_file(name: str, dataset: str) -> Path:
    if file := find_trained(dataset, name):
        return file
    choices = ", ".join((*available_feature_spaces(dataset), *FORMS))
    network = name.removesuffix(LAYERS)
    train = f", or train it with: mmd-ddm pretrain --dataset {dataset} --what {network} --output DIR, {FOLDER}=DIR"
    raise UserError(
        f"There is no feature space {name!r} for the data set {dataset!r}; choose one of: {choices}"
        f"{train if name in NAMES else ''}."
    )
