"""The configs in a diffusers folder, and whether a model fits a data set: read without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.autoencoder_config import decoded_shape, find_autoencoder
from mmd_ddm.pretrained.catalogue import left_out
from mmd_ddm.pretrained.unet_size import check_size
from mmd_ddm.records import read_record

MOST_CLASSES = 2**16
OF_DIT = "num_embeds_ada_norm"  # the entry of a DiT's config that has its classes
_NAMES = "id2label"
_NULL_CLASS = 1000  # diffusers' DiTPipeline


def scheduler_config(folder: Path) -> dict[str, object]:
    """Read a pipeline folder's `scheduler_config.json`: no defaults filled in but what `catalogue` knows.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    written = _read_json(part_of(folder, "scheduler") / "scheduler_config.json")
    return {**left_out(folder), **{key: value for key, value in written.items() if value is not None}}


def unet_config(folder: Path) -> dict[str, object]:
    """Read a pipeline folder's `config.json` of the U-Net, or the DiT that it has instead.

    Raises:
        UserError: as `scheduler_config`, and for one of absurd size.
    """
    file = network_part(folder) / "config.json"
    config = _read_json(file)
    check_size(config, file)
    return config


def shape_of(unet: Mapping[str, object]) -> tuple[object, ...]:
    """Channels, height and width of what a U-Net makes, as its config has them."""
    size = unet.get("sample_size")
    return unet.get("in_channels"), *(size if isinstance(size, (list, tuple)) else (size, size))


def image_shape(folder: Path) -> tuple[object, ...]:
    """Channels, height and width of a model's images, of a latent model the decoded ones; errors as `unet_config`."""
    made, autoencoder = shape_of(unet_config(folder)), find_autoencoder(folder)
    return made if autoencoder is None else decoded_shape(autoencoder.config, made)


def classes_of(unet: Mapping[str, object]) -> int | None:
    """How many classes a model of this config of its U-Net or DiT knows; none: it is unconditional.

    Raises:
        UserError: it is conditioned in a way that class labels are not enough for.
    """
    entry = OF_DIT if OF_DIT in unet else "num_class_embeds"
    kind, classes = unet.get("class_embed_type"), unet.get(entry)
    if kind is not None:
        raise UserError(
            f"the network has class_embed_type {kind!r}, which takes other things than class labels; supported are "
            "unconditional networks, and those with num_class_embeds and class_embed_type null"
        )
    if classes is None:
        return None
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= MOST_CLASSES:
        raise UserError(f"{entry} of the network is {classes!r}; it must be a whole number from 2 to {MOST_CLASSES}")
    return classes


def null_class_of(unet: Mapping[str, object]) -> int | None:
    """The label that stands for none, of a DiT with as many classes as `DiTPipeline` takes for granted; else none."""
    return _NULL_CLASS if unet.get(OF_DIT) == _NULL_CLASS else None


def class_names(folder: Path) -> dict[str, str] | None:
    """The names of a DiT's classes by number, `id2label` of its `model_index.json`; none: it has none.

    Raises:
        UserError: they are no names, or their numbers are none.
    """
    index = folder / "model_index.json"
    if not index.is_file() or _NAMES not in (record := read_record(index)):
        return None
    names = record.record(_NAMES)
    if odd := [number for number in names if not number.isdecimal()]:
        raise record.damaged(f"{_NAMES} has a class {odd[0]!r}; classes are whole numbers")
    return {number: names.text(number) for number in names}


def check_fits(folder: Path, spec: DatasetSpec) -> None:
    """Refuse the base model in a folder if its channels or resolution differ from the data set's.

    Raises:
        UserError: they differ.
    """
    shape = image_shape(folder)
    wanted = (spec.channels, spec.resolution, spec.resolution)
    if shape != wanted:
        raise UserError(
            f"the base model makes images of (channels, height, width) {shape}, data set {spec.name} has {wanted}"
        )


def network_part(folder: Path) -> Path:
    """Return where a pipeline folder has its network, a U-Net or a transformer."""
    transformer = folder / "transformer"
    return transformer if transformer.is_dir() else part_of(folder, "unet")


def part_of(folder: Path, name: str) -> Path:
    """Return where a pipeline folder has its network (`unet`) or its `scheduler`."""
    # the oldest pipelines on the hub keep both parts in the folder itself
    return folder / name if (folder / name).is_dir() else folder


def _read_json(path: Path) -> dict[str, object]:
    if not path.exists():
        raise UserError(f"{path.parent} is not a diffusers pipeline: it has no {path.name}")
    return dict(read_record(path).entries)
