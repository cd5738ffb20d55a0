"""Files of feature spaces that the project trained: their names, where they are, and what they hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.weights import weights_folder

TRAINED = ("classifier", "contrastive")
LAYERS = "_layers"  # behind the name of a network: all its layers in place of the last
NAMES = (*TRAINED, *(f"{name}{LAYERS}" for name in TRAINED))
SHIPPED = Path(__file__).parent / "weights"

DIGITS, PICTURES = "digits", "pictures"  # architectures


@dataclass(frozen=True)
class Trained:
    """What a file of weights holds.

    Args:
        name: One of `TRAINED`.
        architecture: `digits`, a network of its own for each name, or `pictures`, the residual network.
        image_shape: Channels, height and width of the images it takes.
        width: Of the network.
        dim: Number of features D of the last layer.
        record: How it was trained and how well it came out; anything that JSON can hold.
    """

    name: str
    architecture: str
    image_shape: tuple[int, int, int]
    width: int
    dim: int
    record: Mapping[str, object]


def weights_file(folder: Path, dataset: str, name: str) -> Path:
    """Return where the weights of a feature space lie in a folder of weights."""
    return folder / f"{dataset}_{name.removesuffix(LAYERS)}.safetensors"


def find_trained(dataset: str, name: str) -> Path | None:
    """Return the file of a feature space trained on a data set: a shipped one, or one in the folder of weights.

    None if there is none, the name is none of `NAMES`, or it asks for all layers of a network of digits.
    """
    if name not in NAMES:
        return None
    files = (weights_file(folder, dataset, name) for folder in (SHIPPED, weights_folder()) if folder)
    file = next((file for file in files if file.is_file()), None)
    if file and name.endswith(LAYERS) and read_trained(file).architecture == DIGITS:
        return None
    return file


def read_trained(file: Path) -> Trained:
    """Read what a file of weights holds, without the weights.

    Raises:
        UserError: If the file is not one that `save_trained` wrote, or is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np") as stored:  # of its header alone, which needs no PyTorch
            shape = {"architecture": DIGITS, **json.loads(stored.metadata()["space"])}
        return Trained(**{**shape, "image_shape": tuple(shape["image_shape"])})
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> UserError:
    """Return the error that says that a file is no feature space."""
    return UserError(f"{file} is no feature space that can be read ({error}); train it again.")
