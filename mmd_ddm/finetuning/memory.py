"""Whether a whole batch's graph fits in memory: measured on one sample, not guessed from the number of parameters."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from mmd_ddm.finetuning.gradient import Pipeline

SHARE = 0.6  # of the free memory; the rest is for the optimizer, the bank and what allocators lose


class SavedBytes:
    """Counts the distinct bytes that autograd keeps for backward while it is active."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[int] = set()

    def __enter__(self) -> SavedBytes:
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor


def stored_graph_fits(pipeline: Pipeline, noise: Tensor, batch: int, processes: int) -> bool:
    """Whether the graph of `batch` samples fits beside what else is in memory.

    Args:
        pipeline: from noise to features.
        noise: (draws, 2, C, H, W) for the trial run.
        batch: samples of this worker in an update.
        processes: workers that share this machine's memory (of no weight on a GPU).
    """
    weights = sum(p.numel() * p.element_size() for p in pipeline.denoiser.parameters())
    with SavedBytes() as saved:
        pipeline.embed(pipeline.trajectory(noise, (0, 0))[-1].image)
    graph = max(0, saved.total - weights) / noise.shape[1] * batch
    return graph < SHARE * _free_bytes(noise.device) / (1 if noise.device.type == "cuda" else processes)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
