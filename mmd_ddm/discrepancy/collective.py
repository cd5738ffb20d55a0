"""What workers exchange in an update: features, gradients, and nothing else.

The MMD of a batch is not the mean of the MMDs of its parts, so each worker needs all features. No gradient flows
through these functions: the objective's gradient on the features is computed by hand and then pulled back locally.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor


class Collective(Protocol):
    """A group of workers."""

    rank: int
    world: int

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate every worker's rows (n_r, ...), in the order of ranks; the n_r may differ."""

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over workers, and return it."""


class SingleCollective:
    """One process: nothing to exchange."""

    rank = 0
    world = 1

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows themselves."""
        return rows

    def sum_(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor


class DistributedCollective:
    """The default process group of torch.distributed, already initialised (gloo or NCCL)."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.world = dist.get_world_size()

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate every worker's rows; padded on the way, since gloo refuses uneven shapes."""
        counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(self.world)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        sizes = [int(count) for count in counts]
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def sum_(self, tensor: Tensor) -> Tensor:
        """All-reduce in place."""
        dist.all_reduce(tensor)
        return tensor


def share(total: int, collective: Collective) -> range:
    """The positions 0 ... total-1 that fall to this worker: contiguous, sizes differing by at most one."""
    start, stop = (total * r // collective.world for r in (collective.rank, collective.rank + 1))
    return range(start, stop)
