"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmd_ddm.training_state import lent


class EMA:
    """The weighted mean of the weights after each update, the latest weighted 1, the one before `decay`, and so on.

    That is the exponential average with its bias towards the starting point taken out, as Adam does with its moments
    (Kingma & Ba 2015, Section 3): the pretrained weights themselves have no part in it, however short the run.

    Args:
        module: its parameters are averaged.
        decay: 0 (the latest weights) to below 1; the mean reaches back over about 1 / (1 - decay) updates.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, count: int) -> None:
        """Take in the parameters after update number `count`, counted from 0."""
        share = (1 - self.decay) / (1 - self.decay ** (count + 1))
        # as torch.optim.swa_utils does it: the same bits as one by one, in half the time
        torch._foreach_lerp_(list(self.average.values()), list(module.parameters()), share)

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Lend the averaged weights to the module for a while."""
        with lent(module, self.average.values()):
            yield


@torch.no_grad()
def copy_weights(weights: dict[str, Tensor], module: nn.Module) -> None:
    """Copy named weights into a module's parameters."""
    for name, parameter in module.named_parameters():
        parameter.copy_(weights[name])
