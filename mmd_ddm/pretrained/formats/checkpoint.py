"""Reading a checkpoint file into named tensors, whatever it was wrapped in; no code in it is ever run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mmd_ddm.errors import UserError

# where training scripts keep the weights; averaged ones before raw ones
_WRAPPERS = ("ema", "ema_state_dict", "state_dict", "model_state_dict", "model")
_EMA = 4  # place of the averaged weights in a DDIM training state: weights, optimizer, epoch, step, EMA
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, SafetensorError)
_PARALLEL = "module."  # what torch's data parallel puts before every name


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the weights of one network, the averaged ones if there are any, from safetensors or what `torch.save` wrote.

    The tensors are on the CPU, their names without the prefix of data parallel training.

    Raises:
        UserError: the file cannot be read without running code of it, or holds no weights.
    """
    try:
        is_safe = path.suffix == ".safetensors"
        content: object = load_file(path) if is_safe else torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *_UNREADABLE) as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, pickle.UnpicklingError):  # torch's own words advise to unpickle it all the same
            reason = "it is none, or one that would run code of its own"
        raise UserError(f"{path} cannot be read as a checkpoint: {reason}") from None
    weights = _unwrap(content)
    if weights is None:
        raise UserError(f"{path} holds no weights: neither a state dict nor one wrapped as {', '.join(_WRAPPERS)}")
    if all(name.startswith(_PARALLEL) for name in weights):
        weights = {name.removeprefix(_PARALLEL): tensor for name, tensor in weights.items()}
    return weights


def _unwrap(content: object) -> dict[str, Tensor] | None:
    if isinstance(content, (list, tuple)) and content:
        return _unwrap(content[_EMA] if len(content) > _EMA else content[0])
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()):
        return dict(content)
    inner = (_unwrap(content[key]) for key in _WRAPPERS if key in content)
    return next((found for found in inner if found is not None), None)
