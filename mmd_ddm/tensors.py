"""Tensors from files of weights: numbers that a network can compute with, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmd_ddm.errors import UserError


def real_numbers(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor of weights in float32.

    Args:
        name: Of the tensor in its file, for the error.
        tensor: Of any shape.

    Raises:
        UserError: If it is of whole or complex numbers, which a cast would change in silence, or is not finite.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"its tensor {name} is of type {kind}; weights are floating-point numbers")
    numbers = tensor.float()
    if not bool(torch.isfinite(numbers).all()):
        raise UserError(f"its tensor {name} holds NaN or infinity; the file is damaged, or its training diverged")
    return numbers


def check_names(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], owner: str) -> None:
    """Refuse, with a UserError that names the first one, tensors that are missing, left over or of another shape.

    Args:
        found: Of the file.
        expected: Of the network, on any device.
        owner: What the network is called.
    """
    for name, tensor in expected.items():
        if name not in found:
            raise UserError(f"it has no tensor {name}, which {owner} needs")
        if found[name].shape != tensor.shape:
            shapes = f"has shape {tuple(found[name].shape)}, and {owner} needs {tuple(tensor.shape)}"
            raise UserError(f"its tensor {name} {shapes}")
    for name in found:
        if name not in expected:
            raise UserError(f"its tensor {name} is none of {owner}")
