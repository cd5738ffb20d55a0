"""Feature spaces that the project trains itself, to and from files: weights beside the code, never unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.trained.classifier import classifier_network
from mmd_ddm.features.trained.contrastive import contrastive_network
from mmd_ddm.features.trained.residual import Layers, ResidualNetwork
from mmd_ddm.features.trained.weights import PICTURES, Trained, read_trained, unreadable
from mmd_ddm.files import replacing

_Builder = Callable[[tuple[int, int, int], int, int], nn.Module]
_DIGITS: dict[str, _Builder] = {"classifier": classifier_network, "contrastive": contrastive_network}


def build_network(trained: Trained) -> nn.Module:
    """Build the network that a file of weights is of, with weights drawn from torch's global generator."""
    shape = trained.image_shape, trained.width, trained.dim
    return ResidualNetwork(*shape) if trained.architecture == PICTURES else _DIGITS[trained.name](*shape)


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


def load_trained(file: Path, name: str | None = None) -> FeatureSpace:
    """Read a feature space that `save_trained` wrote, on the processor, in float32.

    Args:
        file: Where it is.
        name: The network's, or that of all its layers; None: the network's.

    Raises:
        UserError: If the file is not one, or is damaged.
    """
    from safetensors.torch import load_file

    trained = read_trained(file)
    try:
        tensors = load_file(file)
        layers = tensors.pop("layers_scale", None)
        tensors = {key: value.float() for key, value in tensors.items()}
        with torch.random.fork_rng(devices=[]):  # fresh weights would be drawn from the caller's generator
            network = build_network(trained)
        if isinstance(network, ResidualNetwork):
            network.fold()
        space = FeatureSpace(trained.name, network, torch.ones(trained.dim), trained.image_shape)
        space.load_state_dict(tensors)
        if name is None or name == trained.name:
            return space
        if not isinstance(network, ResidualNetwork) or layers is None:
            raise KeyError("layers_scale")
        return FeatureSpace(name, Layers(network), layers, trained.image_shape)
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise unreadable(file, error) from error
