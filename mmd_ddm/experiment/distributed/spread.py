"""Work that is spread over workers: processes of this machine, or of the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

import torch

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.experiment.distributed.cluster import check_room, start_ray
from mmd_ddm.experiment.distributed.nodes import NODE_ID, living_nodes, own_node
from mmd_ddm.experiment.distributed.processes import in_processes
from mmd_ddm.experiment.distributed.retry import run_retried
from mmd_ddm.experiment.distributed.shared_storage import check_storage
from mmd_ddm.experiment.distributed.train import make_trainer, own_place
from mmd_ddm.files import cache_home

if TYPE_CHECKING:
    from ray.util.queue import Queue

T = TypeVar("T")
Tell = Callable[[T], None]
Work = Callable[[Collective, torch.device, Tell[T]], None]
_CPUS_BESIDE_A_GPU = 4


def spread(work: Work[T], workers: int, tell: Tell[T], needed: Sequence[Path] = ()) -> None:
    """Call a function on each of several workers, and wait for all of them.

    With RAY_ADDRESS and more than one worker they are processes of that cluster, wherever it has room, with a GPU each
    if it has GPUs; a process that dies is replaced, and the work begins again.

    Args:
        work: Importable by its name; told its place among the workers, its device, and where to tell results, which
            are the same with any number of workers.
        workers: 1: this process.
        tell: Given what the first worker tells, as it comes; in a process of this machine, importable by its name.
        needed: What must be there on each node of a cluster.

    Raises:
        UserError, ResourceError: As of `in_processes`; or the cluster has no room, or lacks what is needed.
    """
    if workers == 1 or not os.environ.get("RAY_ADDRESS"):
        in_processes(partial(_here, work, tell), workers)
    else:
        _on_cluster(work, workers, tell, needed)


def _here(work: Work[T], tell: Tell[T], collective: Collective, device: torch.device) -> None:
    work(collective, device, tell if collective.rank == 0 else _nobody)


def _nobody(result: object) -> None:
    """The others have the same results."""


def _on_cluster(work: Work[T], workers: int, tell: Tell[T], needed: Sequence[Path]) -> None:
    import ray

    start_ray(workers=workers)
    try:
        gpus = float(any(node.resources.get("GPU") for node in living_nodes()))
        process = {"CPU": _CPUS_BESIDE_A_GPU if gpus else 1, "GPU": gpus}
        check_room(workers, process)
        check_storage(cache_home(), process, needed)
        for result in results(work, workers, process):
            tell(result)
    finally:
        ray.shutdown()


class _Settings(TypedDict, Generic[T]):
    work: Work[T]
    queue: Queue
    threads: int


def results(work: Work[T], workers: int, process: Mapping[str, float]) -> Iterator[T]:
    """Return, as they come, what the first of several workers tells, which run where Ray has room; Ray is there.

    What is told by workers whose partner died comes again, from those that replace them: fewer, where a node has left.

    Args:
        work: As of `spread`; the same with any number of workers.
        workers: How many at most.
        process: CPUs, which are its threads, and GPUs of each.
    """
    from ray.util.queue import Queue

    threads, gpus = int(process["CPU"]), process["GPU"]
    here = {NODE_ID: own_node()}  # where no other node takes along what has been told
    queue, failures = Queue(actor_options={"num_cpus": 0, "label_selector": here}), list[BaseException]()
    settings: _Settings[T] = {"work": work, "queue": queue, "threads": threads}

    def run() -> None:
        try:
            with tempfile.TemporaryDirectory() as folder:
                trainer = partial(make_trainer, _worker, settings, Path(folder), gpus=gpus, threads=threads)
                run_retried(trainer, workers, process, fewest=1)
        except BaseException as error:
            failures.append(error)

    running = threading.Thread(target=run, daemon=True)  # beside it, results are told as they come
    running.start()
    while running.is_alive() or not queue.empty():
        yield from queue.get_nowait_batch(queue.qsize())
        running.join(2.0)  # seconds; each look costs the queue some work
    for error in failures:
        raise error


def _worker(settings: _Settings[T]) -> None:
    torch.set_num_threads(settings["threads"])
    collective, device = own_place()
    settings["work"](collective, device, settings["queue"].put if collective.rank == 0 else _nobody)
