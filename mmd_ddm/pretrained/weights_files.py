"""The files of weights in a diffusers folder of a network: every tensor of the network once, and no other.

diffusers itself leaves a tensor that is missing at the random numbers it was drawn with, and says so in a warning.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmd_ddm.errors import UserError
from mmd_ddm.records import read_record, size_of
from mmd_ddm.tensors import check_names, real_numbers

if TYPE_CHECKING:
    from diffusers import ModelMixin

# safetensors first; after each its index, where the tensors are spread over several files
_NAMES = tuple(
    f"diffusion_pytorch_model.{kind}{index}" for kind in ("safetensors", "bin") for index in ("", ".index.json")
)
# what diffusers called the layers of attention before 0.12, and calls them since
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, SafetensorError)


def load_model(build: type[ModelMixin], config: Mapping[str, object], part: Path, what: str) -> ModelMixin:
    """Build a network of a config, in eval mode, with the float32 weights of its folder, on the CPU.

    Raises:
        UserError: of `what`, a network in words: its weights are not whole, finite real numbers.
    """
    try:
        weights = read_weights(part)
        with torch.device("meta"):  # before memory is taken: the file has all that the config asks for
            weights = fitting(weights, build.from_config(config))
        network = build.from_config(config)
        load_weights(weights, network)
    except (OSError, ValueError, RuntimeError, TypeError, ArithmeticError) as error:  # a UserError is a ValueError
        # the first line may only announce the second
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UserError(f"the {what} in {part} cannot be loaded: {reason}") from None
    return network.eval()


def fitting(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return weights under the names of a network, which may be on the meta device.

    Raises:
        UserError: a tensor is missing, left over or of another shape.
    """
    expected = network.state_dict()
    found = _renamed(weights, expected)
    check_names(found, expected, "its config's network")
    return found


def load_weights(weights: Mapping[str, Tensor], network: nn.Module) -> None:
    """Fill a network with `fitting` weights, in float32.

    Raises:
        UserError: a tensor is not of real numbers or not finite.
    """
    network.load_state_dict({name: real_numbers(name, tensor) for name, tensor in weights.items()})


def read_weights(unet: Path) -> dict[str, Tensor]:
    """Read the tensors of a folder by name, as they are, onto the CPU.

    Raises:
        UserError: there are none, or they cannot be read without running code of theirs.
    """
    file = next((unet / name for name in _NAMES if (unet / name).is_file()), None)
    if file is None:
        raise UserError(f"it has no {_NAMES[0]}")
    return _read_all(file) if file.suffix == ".json" else _read(file)


def _read_all(index: Path) -> dict[str, Tensor]:
    place = read_record(index).record("weight_map")
    parts = sorted({Path(place.text(name)).name for name in place})  # in this folder, wherever they point
    return {name: tensor for part in parts for name, tensor in _read(index.parent / part).items()}


def _read(file: Path) -> dict[str, Tensor]:
    try:
        size_of(file)  # a pipe would be waited for
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError:  # torch's own words advise to unpickle it all the same
        raise UserError(f"{file.name} is no file of weights, or one that would run code of its own") from None
    except _UNREADABLE as error:
        raise UserError(f"{file.name} cannot be read: {str(error).partition(chr(10))[0]}") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{file.name} holds something other than tensors by name")
    return {str(name): value for name, value in content.items()}


def _renamed(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the old names of attention layers to the new ones, where the network knows the new ones alone."""
    renamed = {}
    for name, tensor in found.items():
        path, _, kind = name.rpartition(".")
        layer, _, old = path.rpartition(".")
        new = f"{layer}.{_RENAMED.get(old, old)}.{kind}"
        renamed[new if new in expected and new not in found else name] = tensor
    return renamed
