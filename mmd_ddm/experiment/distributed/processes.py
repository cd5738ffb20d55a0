"""The same function in several processes of this machine, which see one another as workers."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing

from mmd_ddm.discrepancy.collective import Collective, DistributedCollective, SingleCollective
from mmd_ddm.errors import ResourceError, UserError

Work = Callable[[Collective, torch.device], None]
_SAID = "said.txt"


def in_processes(work: Work, workers: int) -> None:
    """Run a function on each of several workers, with an even share of the CPU's threads, and wait for all of them.

    It is importable by name, since processes are started anew; one worker is this process. Of a worker's failure,
    UserErrors and OSErrors come out as a UserError, that the kernel killed it as a ResourceError, all else as a
    RuntimeError.
    """
    if workers == 1:
        work(SingleCollective(), _device(0))
        return
    threads = max(1, torch.get_num_threads() // workers)
    with tempfile.TemporaryDirectory() as meeting:
        started = torch.multiprocessing.spawn(_worker, (work, workers, meeting, threads), workers, join=False)
        try:
            while not started.join():
                pass
        except (torch.multiprocessing.ProcessRaisedException, torch.multiprocessing.ProcessExitedException) as error:
            said = Path(meeting) / _SAID
            if said.exists():
                raise UserError(said.read_text()) from None
            # its partners' broken connections may be what is raised
            if any(process.exitcode == -signal.SIGKILL for process in started.processes):
                cause = "a worker was killed, most likely because memory ran out"
                raise ResourceError(f"{cause}; ask for fewer --workers or --images") from None
            raise RuntimeError(f"a worker failed: {error}") from None


def _device(rank: int) -> torch.device:
    """A worker's device: the GPUs in turn, or the CPU."""
    there = torch.cuda.device_count()
    return torch.device("cuda", rank % there) if there else torch.device("cpu")


def _worker(rank: int, work: Work, workers: int, meeting: str, threads: int) -> None:
    device = _device(rank)
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if torch.cuda.device_count() >= workers else "gloo"
    store, own = f"file://{meeting}/store", device if device.type == "cuda" else None
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=workers, device_id=own)
    try:
        work(DistributedCollective(), device)
    except (UserError, OSError) as error:
        (Path(meeting) / _SAID).write_text(str(error))
        raise
    finally:
        dist.destroy_process_group()
