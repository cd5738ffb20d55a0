"""The books of a conversion: every tensor of a checkpoint is used exactly once, or the checkpoint is refused."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.tensors import real_numbers


class Ledger:
    """The tensors of a checkpoint of some format that have not been used yet, and what the others have become."""

    def __init__(self, tensors: Mapping[str, Tensor], form: str) -> None:
        self._left, self._form = dict(tensors), form
        self._weights: dict[str, Tensor] = {}
        self._origin: dict[str, str] = {}

    def __contains__(self, name: object) -> bool:
        """Whether a tensor is there and not used yet."""
        return name in self._left

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that is not used up, or a `UserError` if it is missing."""
        if name not in self._left:
            raise UserError(f"this is no {self._form} checkpoint: it has no tensor {name}")
        return tuple(self._left[name].shape)

    def take(self, name: str) -> Tensor:
        """Use a tensor up, in float32, or raise a `UserError` if it is missing or not of finite real numbers."""
        self.shape(name)
        try:
            return real_numbers(name, self._left.pop(name))
        except UserError as error:
            raise UserError(f"this {self._form} checkpoint cannot be used: {error}") from None

    def put(self, new: str, tensor: Tensor, old: str) -> None:
        """Write a tensor under its name in diffusers, with the one that it comes from; `UserError` if it is taken."""
        if new in self._weights:
            why = f"{self._origin[new]} and {old} both give {new}"
            raise UserError(f"this is no {self._form} checkpoint: its tensors {why}")
        self._weights[new], self._origin[new] = tensor, old

    def move(self, old: str, new: str) -> None:
        """Carry a layer's weight and bias over as they are."""
        for kind in ("weight", "bias"):
            self.put(f"{new}.{kind}", self.take(f"{old}.{kind}"), f"{old}.{kind}")

    def flatten(self, old: str, new: str) -> None:
        """Carry a convolution with a kernel of 1 over as a linear layer."""
        weight = self.take(f"{old}.weight")
        if weight.dim() < 2 or any(side != 1 for side in weight.shape[2:]):
            why = f"{old}.weight has shape {tuple(weight.shape)}, not a kernel of 1"
            raise UserError(f"this is no {self._form} checkpoint: {why}")
        self.put(f"{new}.weight", weight.flatten(1), f"{old}.weight")
        self.put(f"{new}.bias", self.take(f"{old}.bias"), f"{old}.bias")

    def close(self, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Check that nothing is left or missing, that all have the expected shapes, and return the weights by new name.

        Raises:
            UserError: names the first tensor that is in the way.
        """
        if self._left:
            raise UserError(f"this is no {self._form} checkpoint: it has an unexpected tensor {next(iter(self._left))}")
        for name, tensor in self._weights.items():
            if expected.get(name) != tuple(tensor.shape):
                raise UserError(
                    f"this is no {self._form} checkpoint that can be converted: its tensor {self._origin[name]} "
                    f"gives {name} of shape {tuple(tensor.shape)}, and the network has {expected.get(name, 'none')}"
                )
        if missing := [name for name in expected if name not in self._weights]:
            raise UserError(f"this is no {self._form} checkpoint: nothing in it gives {missing[0]}")
        return self._weights
