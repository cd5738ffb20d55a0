"""From what is known of a data set to its images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from mmd_ddm.data.cifar10_small import read_cifar10_small
from mmd_ddm.data.digits import read_digits
from mmd_ddm.data.given import store_at
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.prepare import prepare, store_folder
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.data.store import Rows
from mmd_ddm.errors import UserError

# images (uint8, M x C x H x W) and their labels (int64), or None
_EMBEDDED: dict[str, Callable[[], tuple[Tensor, Tensor | None]]] = {
    "digits": read_digits,
    "cifar10_small": read_cifar10_small,
}


def load_dataset(spec: DatasetSpec) -> ImageSet:
    """Read a data set, prepared before or, if it is not, now; prepared images stay on disk until they are asked for.

    Raises:
        UserError: If the images cannot be had, or are not what the specification says.
    """
    if spec.embedded:
        images, labels = _EMBEDDED[spec.name]()
        expected = (spec.size, spec.channels, spec.resolution, spec.resolution)
        if tuple(images.shape) != expected:
            raise ValueError(f"The images of {spec.name!r} have shape {tuple(images.shape)}, not {expected}.")
        return ImageSet(spec.name, images, labels, spec.mirrored)
    folder = is_prepared(spec)
    rows = Rows(folder) if folder else prepare(spec, store_folder(spec))
    _check(spec, rows)
    return ImageSet(spec.name, rows, rows.labels, spec.mirrored)


def is_prepared(spec: DatasetSpec) -> Path | None:
    """Return the store of a data set's prepared images if there is one; prepares and downloads nothing."""
    return None if spec.origin is None else store_at(spec.origin) or store_at(str(store_folder(spec)))


def _check(spec: DatasetSpec, rows: Rows) -> None:
    wanted = (spec.channels, spec.resolution, spec.resolution)
    if tuple(rows.shape) != wanted:
        has, asked = (f"{shape[0]} channels of {shape[1]} x {shape[2]}" for shape in (rows.shape, wanted))
        raise UserError(f"{rows.folder} holds images with {has}, not {asked}; prepare the data set as you want it")
    skipped = rows.record.get("skipped")
    size = len(rows) + (skipped if isinstance(skipped, int) else 0)
    if not spec.given and size != spec.size:
        raise UserError(f"{rows.folder} holds {size} images, but {spec.name} has {spec.size}; delete it")
