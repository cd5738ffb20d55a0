"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class EMA:
    """The average over updates n = 0, 1, 2 ... with decay min(decay, (1 + n) / (10 + n)).

    The ramp, as in diffusers' `EMAModel`, lets short runs forget the starting point.

    Args:
        module: its parameters are averaged.
        decay: 0 (no averaging) to below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, count: int) -> None:
        """Take in the parameters after update number `count`, counted from 0."""
        decay = min(self.decay, (1 + count) / (10 + count))
        for name, parameter in module.named_parameters():
            self.average[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Lend the averaged weights to the module for a while."""
        own = {name: p.detach().clone() for name, p in module.named_parameters()}
        copy_weights(self.average, module)
        try:
            yield
        finally:
            copy_weights(own, module)


@torch.no_grad()
def copy_weights(weights: dict[str, Tensor], module: nn.Module) -> None:
    """Copy named weights into a module's parameters."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])
