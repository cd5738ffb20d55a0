"""Feature spaces that the project trains itself, as files: weights beside the code, never unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.weights import weights_folder
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.trained.classifier import classifier_network
from mmd_ddm.features.trained.contrastive import contrastive_network
from mmd_ddm.files import replacing

NETWORKS: dict[str, Callable[[tuple[int, int, int], int, int], nn.Sequential]] = {
    "classifier": classifier_network,
    "contrastive": contrastive_network,
}
SHIPPED = Path(__file__).parent / "weights"


def weights_file(folder: Path, dataset: str, name: str) -> Path:
    """Return where the weights of a feature space lie in a folder of weights."""
    return folder / f"{dataset}_{name}.safetensors"


def find_trained(dataset: str, name: str) -> Path | None:
    """Return the file of a feature space trained on a data set: a shipped one, or one in the folder of weights.

    None if there is none, or the name is none of `NETWORKS`.
    """
    if name not in NETWORKS:
        return None
    files = (weights_file(folder, dataset, name) for folder in (SHIPPED, weights_folder()) if folder)
    return next((file for file in files if file.is_file()), None)


def save_trained(space: FeatureSpace, width: int, record: Mapping[str, object], file: Path) -> None:
    """Write one of `NETWORKS`, built with a width, to a file, which appears when it is complete.

    The record says how it was trained; it may be anything that JSON can hold.
    """
    from safetensors.torch import save_file

    shape = {"name": space.name, "image_shape": space.image_shape, "width": width, "dim": space.dim}
    # one key: safetensors writes several in random order, and equal spaces would be unequal files
    metadata = {"space": json.dumps({**shape, "record": dict(record)})}
    with replacing(file) as half:
        save_file(space.state_dict(), half, metadata=metadata)


def load_trained(file: Path) -> FeatureSpace:
    """Read a feature space that `save_trained` wrote, on the processor.

    Raises:
        UserError: If the file is not one, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            shape = json.loads(stored.metadata()["space"])
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (no mapping)
        image_shape = tuple(shape["image_shape"])
        with torch.random.fork_rng(devices=[]):  # fresh weights would be drawn from the caller's generator
            network = NETWORKS[shape["name"]](image_shape, shape["width"], shape["dim"])
        space = FeatureSpace(shape["name"], network, torch.ones(shape["dim"]), image_shape)
        space.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise UserError(f"{file} is no feature space that can be read ({error}); train it again.") from error
    return space
