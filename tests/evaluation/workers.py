"""Workers as threads, for what they exchange."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from mmd_ddm.discrepancy.collective import Collective

T = TypeVar("T")


class ThreadCollective:
    def __init__(self, rank: int, world: int, shared: list[Tensor], barrier: threading.Barrier) -> None:
        self.rank, self.world, self.shared, self.barrier = rank, world, shared, barrier

    def gather_rows(self, rows: Tensor) -> Tensor:
        return torch.cat(self._all(rows))

    def sum_(self, tensor: Tensor) -> Tensor:
        total = torch.stack(self._all(tensor.clone())).sum(0)
        return tensor.copy_(total)

    def _all(self, tensor: Tensor) -> list[Tensor]:
        self.shared[self.rank] = tensor
        self.barrier.wait()
        found = list(self.shared)
        self.barrier.wait()
        return found


def run_workers(world: int, work: Callable[[Collective], T]) -> list[T]:
    shared, barrier = [torch.empty(0)] * world, threading.Barrier(world, timeout=30)
    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(lambda rank: work(ThreadCollective(rank, world, shared, barrier)), range(world)))
