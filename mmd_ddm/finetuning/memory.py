"""How an update fits into the memory that there is, beside what else is in it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.errors import UserError
from mmd_ddm.finetuning.footprint import Peak, counted, cuda_peak, measured
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.names import REPLAY, STORED

SHARE = 0.6  # of the free memory; the rest is for the optimizer, the bank and what allocators lose


class Route(NamedTuple):
    """How an update's gradient is computed: `stored` or `replay`, and how many samples pass the network together."""

    gradient: str
    micro_batch: int


def choose_route(
    pipeline: Rollout, start: Start, batch: int, processes: int, *, gradient: str, micro_batch: int | None,
    peak: Peak | None = None,
) -> Route:  # fmt: skip
    """Choose what is left open so that an update fits beside what else is in memory.

    Args:
        pipeline: from noise to features.
        start: of n samples, at least 2, for the trial run.
        batch: samples of this worker in an update.
        processes: workers that share this machine's memory (of no weight on a GPU, see `keep_to_share`).
        gradient: `stored`, `replay` or `auto`: stored if the whole batch's graph fits.
        micro_batch: none: the whole batch if it fits, otherwise the largest power of two that does, at least 1.
        peak: what the device says of the bytes that work takes; none: a GPU is asked, elsewhere it is counted what
            autograd keeps.
    """
    if gradient != "auto" and micro_batch is not None:
        return Route(gradient, micro_batch)
    device = start.noise.device
    on_gpu = device.type == "cuda"
    if peak is None and on_gpu:
        peak = partial(cuda_peak, device)
    need = counted(pipeline, start) if peak is None else measured(pipeline, start, peak)

    def room() -> float:  # after the trial run, which may have left something there for good
        return SHARE * free_bytes(device) / (1 if on_gpu else processes)

    if gradient == "auto":
        gradient = STORED if need(STORED).bytes(batch) < room() else REPLAY
    if micro_batch is None:
        fitting = batch  # a stored graph is whole, however it is cut
        if gradient == REPLAY:
            fitting = need(REPLAY).fitting(room() - batch * _trajectory_bytes(pipeline, start.noise))
        micro_batch = batch if fitting >= batch else 1 << (max(1, fitting).bit_length() - 1)
    return Route(gradient, micro_batch)


def _trajectory_bytes(pipeline: Rollout, noise: Tensor) -> int:
    """Of all states of a sample, with its noise: those of the whole batch are kept while it is replayed."""
    states = len(pipeline.chain.timesteps) * pipeline.chain.solver.carried
    return (states + len(noise)) * noise[0, 0].nbytes


def free_bytes(device: torch.device) -> int:
    """Return the bytes of a device's memory, or this machine's, that are free for more.

    Of a GPU that is shared they are those of this process's share (see `keep_to_share`), unless what else runs there
    leaves less.
    """
    if device.type == "cuda":
        (free, total), used = torch.cuda.mem_get_info(device), torch.cuda.memory_allocated(device)
        cached = torch.cuda.memory_reserved(device) - used
        return max(0, min(free + cached, int(_share(device) * total) - used))
    told = Path("/proc/meminfo")  # its figure counts the files in memory, banks among them, as free
    if told.exists():
        (line,) = (line for line in told.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def keep_to_share(device: torch.device, share: float) -> None:
    """Leave the rest of a GPU to the others that it is shared with: what asks for more runs out of memory.

    Args:
        device: The GPU.
        share: Of its memory that this process may take, above 0 and at most 1.
    """
    torch.cuda.set_per_process_memory_fraction(share, device)


def _share(device: torch.device) -> float:
    told = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # PyTorch 2.8
    return 1.0 if told is None else float(told(device))


def readable(count: float) -> str:
    """Return a number of bytes in a few characters."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def check_memory(needed: float, device: torch.device, what: str, advice: str) -> None:
    """Refuse work that needs more memory than is free.

    Args:
        needed: Bytes, rather too few than too many.
        device: Where.
        what: That needs them, as the subject of a sentence.
        advice: What to change.

    Raises:
        UserError: It needs more.
    """
    if needed > (there := free_bytes(device)):
        raise UserError(f"{what} would need {readable(needed)} of memory, and {readable(there)} are free; {advice}")
