"""Feature spaces that the project trains itself, as files: weights beside the code, never unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.weights import weights_folder
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.trained.classifier import classifier_network
from mmd_ddm.features.trained.contrastive import contrastive_network
from mmd_ddm.features.trained.residual import Layers, ResidualNetwork
from mmd_ddm.files import replacing

TRAINED = ("classifier", "contrastive")
LAYERS = "_layers"  # behind the name of a network: all its layers in place of the last
NAMES = (*TRAINED, *(f"{name}{LAYERS}" for name in TRAINED))
SHIPPED = Path(__file__).parent / "weights"

DIGITS, PICTURES = "digits", "pictures"  # architectures
_Builder = Callable[[tuple[int, int, int], int, int], nn.Module]
_DIGITS: dict[str, _Builder] = {"classifier": classifier_network, "contrastive": contrastive_network}


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

    def network(self) -> nn.Module:
        """Build the network, with weights drawn from torch's global generator."""
        shape = self.image_shape, self.width, self.dim
        return ResidualNetwork(*shape) if self.architecture == PICTURES else _DIGITS[self.name](*shape)


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


def save_trained(space: FeatureSpace, trained: Trained, file: Path, layers: Tensor | None = None) -> None:
    """Write a space to a file, which appears when it is complete.

    Args:
        space: Features of the last layer.
        trained: What it is.
        file: Where it goes.
        layers: Scale of the features of all layers, for a network that has them; its weights, which fit into half
            precision, are written in it.
    """
    from safetensors.torch import save_file

    tensors = space.state_dict()
    shape: dict[str, object] = {
        "name": trained.name, "image_shape": trained.image_shape, "width": trained.width, "dim": trained.dim,
    }  # fmt: skip
    if layers is not None:
        halves = {key: value.half() for key, value in tensors.items() if key != "scale"}
        tensors = {**tensors, **halves, "layers_scale": layers}
        shape["architecture"] = trained.architecture
    # one key: safetensors writes several in random order, and equal spaces would be unequal files
    metadata = {"space": json.dumps({**shape, "record": dict(trained.record)})}
    with replacing(file) as half:
        save_file(tensors, half, metadata=metadata)


def read_trained(file: Path) -> Trained:
    """Read what a file of weights holds, without the weights.

    Raises:
        UserError: If the file is not one that `save_trained` wrote, or is damaged.
    """
    return _read(file)[0]


def load_trained(file: Path, name: str | None = None) -> FeatureSpace:
    """Read a feature space that `save_trained` wrote, on the processor, in float32.

    Args:
        file: Where it is.
        name: The network's, or that of all its layers; None: the network's.

    Raises:
        UserError: If the file is not one, or is damaged.
    """
    trained, tensors = _read(file)
    try:
        layers = tensors.pop("layers_scale", None)
        tensors = {key: value.float() for key, value in tensors.items()}
        with torch.random.fork_rng(devices=[]):  # fresh weights would be drawn from the caller's generator
            network = trained.network()
        if isinstance(network, ResidualNetwork):
            network.fold()
        space = FeatureSpace(trained.name, network, torch.ones(trained.dim), trained.image_shape)
        space.load_state_dict(tensors)
        if name is None or name == trained.name:
            return space
        if not isinstance(network, ResidualNetwork) or layers is None:
            raise KeyError("layers_scale")
        return FeatureSpace(name, Layers(network), layers, trained.image_shape)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise _unreadable(file, error) from error


def _read(file: Path) -> tuple[Trained, dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            shape = {"architecture": DIGITS, **json.loads(stored.metadata()["space"])}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (no mapping)
        return Trained(**{**shape, "image_shape": tuple(shape["image_shape"])}), tensors
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(f"{file} is no feature space that can be read ({error}); train it again.")
