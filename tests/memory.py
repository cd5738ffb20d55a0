"""How many bytes autograd keeps for backward at its peak."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor


class PeakSaved:
    """The largest number of distinct bytes that autograd keeps at any time while it is active.

    A storage that several operations keep counts once, and as long as any of them keeps it.

    Args:
        without: the parameters of this module don't count: they are there anyway.
    """

    def __init__(self, *without: torch.nn.Module) -> None:
        self.alive = self.peak = 0
        self.holders: Counter[int] = Counter()
        for module in without:
            self.holders.update(parameter.untyped_storage().data_ptr() for parameter in module.parameters())

    def __enter__(self) -> PeakSaved:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Held(self, tensor), _Held.unpack)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)


class _Held:
    """A kept tensor; autograd drops it when it no longer needs it."""

    def __init__(self, owner: PeakSaved, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self.owner, self.tensor, self.key, self.size = owner, tensor, storage.data_ptr(), storage.nbytes()
        owner.holders[self.key] += 1
        if owner.holders[self.key] == 1:
            owner.alive += self.size
            owner.peak = max(owner.peak, owner.alive)

    def unpack(self) -> Tensor:
        return self.tensor

    def __del__(self) -> None:
        self.owner.holders[self.key] -= 1
        if self.owner.holders[self.key] == 0:
            self.owner.alive -= self.size
