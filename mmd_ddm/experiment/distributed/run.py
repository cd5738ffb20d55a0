"""A whole run on several workers, followed by the process that started it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.background import beside
from mmd_ddm.experiment.distributed.cluster import check_room, start_ray
from mmd_ddm.experiment.distributed.shared_storage import check_storage
from mmd_ddm.experiment.distributed.train import Job, fit
from mmd_ddm.experiment.distributed.watch import end_at_once, watched
from mmd_ddm.experiment.interruption import Interruption, ask_to_stop, let_go_on
from mmd_ddm.experiment.run_folder import METRICS, Row, read_rows


def run_distributed(
    config: Config,
    folder: Path,
    *,
    workers: int,
    gpus_per_worker: float = 0,
    cpus_per_worker: int = 1,
    report: Callable[[Row], None],
) -> None:
    """Finetune with several Ray Train workers on this machine or on the cluster that RAY_ADDRESS names.

    Args:
        config: The run's configuration.
        folder: The run's folder; its checkpoint is continued where there is one.
        workers: Number of worker processes, at least 1.
        gpus_per_worker: GPUs of each; 0: the CPU.
        cpus_per_worker: CPUs, and so threads, of each.
        report: Called in this process, in a thread, with the numbers of each scoring.

    Raises:
        UserError, DivergenceError: As of `finetune`, or the machines don't suffice, or don't share the folder.
        KeyboardInterrupt: It was interrupted; after the first signal there is a checkpoint.
    """
    import ray

    start_ray(workers=workers)
    try:
        process: dict[str, float] = {"CPU": cpus_per_worker, "GPU": gpus_per_worker}
        check_room(workers, process)
        check_storage(folder, process)
        folder.mkdir(parents=True, exist_ok=True)
        job = Job(config, str(folder.resolve()), threads=cpus_per_worker)
        let_go_on(folder)
        with (
            Interruption().heard() as interruption,
            watched(partial(end_at_once, "mmd-ddm", "--resume goes on from the last checkpoint")),
            _following(folder / METRICS, report),
            interruption.gently(lambda: ask_to_stop(folder)),
        ):
            fit(job, workers=workers, gpus_per_worker=gpus_per_worker)
        if interruption.asked:
            raise KeyboardInterrupt
    finally:
        ray.shutdown()


def _following(file: Path, report: Callable[[Row], None]) -> AbstractContextManager[None]:
    """Report each scoring that rank 0 appends to a file while the workers run elsewhere."""
    begin = file.stat().st_size if file.exists() else 0

    def follow(done: threading.Event) -> None:
        position, reported, last = begin, -1.0, False
        while not last:
            last = done.wait(0.5)
            rows, position = read_rows(file, position)
            for row in rows:
                if "score" in row and row["update"] > reported:  # a replaced worker may repeat its last ones
                    reported = row["update"]
                    report(row)

    return beside(follow)
