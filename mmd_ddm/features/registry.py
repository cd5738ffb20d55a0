"""Feature spaces by name: those trained by the project, those without training, and the published ones.

Nothing here loads one; `load` does.
"""

from __future__ import annotations

from pathlib import Path

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.listing import FORMS, PUBLISHED_NAMES, check_published, is_published, published_weights
from mmd_ddm.features.published.weights import FOLDER, WeightsReport, find
from mmd_ddm.features.trained.quality import weakness
from mmd_ddm.features.trained.weights import LAYERS, NAMES, SHIPPED, find_trained, read_trained
from mmd_ddm.features.untrained.listing import UNTRAINED, check_untrained


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
        trained_file(name, dataset)


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
    file = trained_file(name, dataset)
    source = "shipped with mmd-ddm" if file.parent == SHIPPED else "mmd-ddm pretrain"
    return WeightsReport(file, True, source, file.stat().st_size)


def weakness_of(name: str, dataset: str) -> str | None:
    """Say in one sentence why a feature space that was trained here can't be trusted alone; None if it can, or isn't.

    Raises:
        UserError: As `check_feature_space`, or the file is damaged.
    """
    check_feature_space(name, dataset)
    return weakness(read_trained(trained_file(name, dataset))) if name in NAMES else None


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
    file = trained_file(name, dataset)
    record = read_trained(file).record
    if record.get("fingerprint") in (None, fingerprint) or (file.parent == SHIPPED and not given):
        return None
    source = record.get("data") or record.get("dataset")
    return (
        f"Feature space {name!r} was trained on other images ({source}) than those it is used for here; its scores "
        f"tell less of these. Its weights are in {file}."
    )


def trained_file(name: str, dataset: str) -> Path:
    """Return the file of a feature space that was trained for a data set; a UserError that says how to train it."""
    if file := find_trained(dataset, name):
        return file
    choices = ", ".join((*available_feature_spaces(dataset), *FORMS))
    network = name.removesuffix(LAYERS)
    train = f", or train it with: mmd-ddm pretrain --dataset {dataset} --what {network} --output DIR, {FOLDER}=DIR"
    raise UserError(
        f"There is no feature space {name!r} for the data set {dataset!r}; choose one of: {choices}"
        f"{train if name in NAMES else ''}."
    )
