"""What an update takes of the memory: measured on a few samples, not guessed from the number of parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start, State
from mmd_ddm.errors import UserError
from mmd_ddm.finetuning.gradient import Rollout

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
        key = storage._cdata  # and not its address: tensors on the meta device have none
        if key not in self._seen:
            self._seen.add(key)
            self.total += storage.nbytes()
        return tensor


class Footprint(NamedTuple):
    """Bytes that autograd keeps of one sample: of one network evaluation, and of its features and its decoding."""

    evaluation: float
    features: float

    def stored(self, steps: int) -> float:
        """Of the whole graph with `steps` evaluations."""
        return steps * self.evaluation + self.features

    @property
    def replayed(self) -> float:
        """Of the largest piece of the graph that is alive at a time when the chain is replayed."""
        return max(self.evaluation, self.features)


class Route(NamedTuple):
    """How an update's gradient is computed: `stored` or `replay`, and how many samples pass the network together."""

    gradient: str
    micro_batch: int


def footprint(pipeline: Rollout, start: Start) -> Footprint:
    """Measure with one evaluation and not a whole chain, whose graph might not fit.

    The trial run is of n samples, at least 2: what they keep more than one of them is theirs alone, without weights.
    """
    one, all_ = (_kept(pipeline, part) for part in (start.split(1)[0], start))
    evaluation, features = ((b - a) / (start.images - 1) for a, b in zip(one, all_, strict=True))
    return Footprint(evaluation, features)


def _kept(pipeline: Rollout, start: Start) -> tuple[int, int]:
    with SavedBytes() as evaluation:
        image = pipeline.step(State(start.noise[0], labels=start.labels), 0, start.noise, (0, 0)).image
    with SavedBytes() as features:
        pipeline.features(State(image.detach().requires_grad_(), labels=start.labels))
    return evaluation.total, features.total


def choose_route(
    pipeline: Rollout, start: Start, batch: int, processes: int, *, gradient: str, micro_batch: int | None
) -> Route:
    """Choose what is left open so that an update fits beside what else is in memory.

    Args:
        pipeline: from noise to features.
        start: of n samples, at least 2, for the trial run.
        batch: samples of this worker in an update.
        processes: workers that share this machine's memory (of no weight on a GPU, see `keep_to_share`).
        gradient: `stored`, `replay` or `auto`: stored if the whole batch's graph fits.
        micro_batch: none: the whole batch if it fits, otherwise the largest power of two that does, at least 1.
    """
    if gradient != "auto" and micro_batch is not None:
        return Route(gradient, micro_batch)
    found = footprint(pipeline, start)
    room = SHARE * free_bytes(start.noise.device) / (1 if start.noise.device.type == "cuda" else processes)
    if gradient == "auto":
        gradient = "stored" if batch * found.stored(len(pipeline.chain.timesteps)) < room else "replay"
    if micro_batch is None:
        fitting = int(room / max(1.0, found.replayed))
        whole = gradient == "stored" or fitting >= batch  # a stored graph is whole, however it is cut
        micro_batch = batch if whole else 1 << (max(1, fitting).bit_length() - 1)
    return Route(gradient, micro_batch)


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
