"""A small all-reduce among the GPUs of one machine, or among two processes where there is none.

Processes of their own do it, which are killed when they hang: that is what NCCL does on machines, among them some with
several RTX A6000, whose boards believe that they can reach each other's memory (peer to peer, P2P) and can't, mostly
because an IOMMU or ACS stands between; on others P2P works and is ten times slower than through the host's memory.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist

from mmd_ddm.experiment.machine.finding import Finding, fault, note, ok

WHAT = "all-reduce"
SWITCH = "NCCL_P2P_DISABLE"
PATIENCE = 120.0  # seconds after which an all-reduce hangs
_START = 600.0  # seconds in which processes start: PyTorch may come from a cold disk, and cores be busy
SLOWER = 2.0  # times as long with P2P as without: it should never be slower
_NUMBERS = 2**22  # float32: 16 MiB, of the size of a gradient's bucket
_ROUNDS = 3


@dataclass(frozen=True)
class Reduction:
    """How an all-reduce went."""

    seconds: float = 0.0  # one, on average
    failure: str = ""  # why there is no time, in words

    def __str__(self) -> str:
        return self.failure or f"{1000 * self.seconds:.1f} ms for {4 * _NUMBERS / 2**20:.0f} MiB"


def check_all_reduce(gpus: int) -> tuple[list[Finding], dict[str, str]]:
    """Let a machine's GPUs, or two processes on its CPU, sum a tensor.

    Args:
        gpus: How many there are.

    Returns:
        What was found, and environment variables with which the machine works, or works faster.
    """
    if gpus < 2:
        backend, workers = ("nccl", 1) if gpus else ("gloo", 2)
        done = reduce(backend, workers, {})
        said = f"{backend}, {workers} process{'es' if workers > 1 else ''}: {done}"
        return [fault(WHAT, said) if done.failure else ok(WHAT, said)], {}
    if os.environ.get(SWITCH, "0") != "0":
        done = reduce("nccl", gpus, {})
        said = f"nccl, {gpus} GPUs, P2P is off by {SWITCH}: {done}"
        return [fault(WHAT, said) if done.failure else ok(WHAT, said)], {} if done.failure else {
            SWITCH: os.environ[SWITCH]
        }
    return judge(gpus, reduce("nccl", gpus, {}), reduce("nccl", gpus, {SWITCH: "1"}))


def judge(gpus: int, direct: Reduction, through_host: Reduction) -> tuple[list[Finding], dict[str, str]]:
    """Compare the all-reduce of several GPUs with P2P and without; see `check_all_reduce`."""
    who = f"nccl, {gpus} GPUs"
    if through_host.failure:
        said = f"{who}: {through_host} without P2P, {direct} with it; NCCL_DEBUG=INFO tells more"
        return [(fault if direct.failure else note)(WHAT, said)], {}
    both = f"{direct} with P2P, {through_host} without"
    if direct.failure or direct.seconds > SLOWER * through_host.seconds:
        advice = f"export {SWITCH}=1, or switch IOMMU and ACS off in the BIOS"
        return [fault(WHAT, f"{who}: P2P doesn't work here: {both}; {advice}")], {SWITCH: "1"}
    return [ok(WHAT, f"{who}: {both}")], {}


def reduce(backend: str, workers: int, environment: Mapping[str, str], patience: float = PATIENCE) -> Reduction:
    """Sum a tensor over processes of this machine.

    Args:
        backend: nccl, with a GPU for each process, or gloo.
        workers: Number of processes.
        environment: Variables that they have besides this process's own.
        patience: Seconds after which they are killed, from when all have started.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as meeting:
        processes, ends = list[BaseProcess](), list[Connection]()
        for rank in range(workers):
            here, there = context.Pipe(duplex=False)
            arguments = (rank, workers, backend, str(Path(meeting) / "store"), dict(environment), there)
            processes.append(context.Process(target=_reduce, args=arguments, daemon=True))
            processes[-1].start()
            there.close()  # so that a death is seen here
            ends.append(here)
        try:
            started = _first_or_slowest(ends, _START)
            return started if started.failure else _first_or_slowest(ends, patience)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _first_or_slowest(ends: list[Connection], patience: float) -> Reduction:
    """Wait for a word of all processes; the first failure counts, whose partners wait in vain, else the slowest."""
    slowest, deadline, waited = Reduction(), time.monotonic() + patience, list(ends)
    while waited:
        ready = wait(waited, max(0.0, deadline - time.monotonic()))
        if not ready:
            return Reduction(failure=f"hangs (no result within {patience:.0f} s)")
        for end in ready:
            assert isinstance(end, Connection)
            try:
                told: float | str = end.recv()
            except EOFError:
                told = "a process died"
            if isinstance(told, str):
                return Reduction(failure=f"fails ({told})")
            slowest = Reduction(max(slowest.seconds, told))
            waited.remove(end)
    return slowest


def _reduce(rank: int, workers: int, backend: str, store: str, environment: dict[str, str], end: Connection) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    end.send(0.0)  # it has started
    try:
        device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group(backend, init_method=f"file://{store}", rank=rank, world_size=workers)
        end.send(_timed(rank, workers, device))
        dist.barrier()  # who ends first would break the others' connections
    except (RuntimeError, OSError) as error:
        end.send(" ".join(str(error).split())[:200] or type(error).__name__)


def _timed(rank: int, workers: int, device: torch.device) -> float | str:
    """Seconds of an all-reduce; the first one, which opens the connections, isn't counted."""
    began = 0.0
    for number in range(1 + _ROUNDS):
        tensor = torch.full((_NUMBERS,), float(rank + 1), device=device)
        if number == 1:
            _synchronize(device)
            began = time.monotonic()
        dist.all_reduce(tensor)
        if not bool((tensor == workers * (workers + 1) / 2).all()):
            return "the sum is wrong"
    _synchronize(device)
    return (time.monotonic() - began) / _ROUNDS


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
