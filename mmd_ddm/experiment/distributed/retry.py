"""Runs of Ray Train that outlive their processes and nodes: begun again after a death, waiting where no room is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from mmd_ddm.errors import DivergenceError, ResourceError, UserError, first_line
from mmd_ddm.experiment.distributed.cluster import findable_cluster, places, usable_nodes

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

RETRIES = 2  # of a run whose worker process died: preemption and memory pressure pass, a program's error does not
PAUSE = 1.0  # seconds between two looks for room
_log = logging.getLogger(__name__)


def run_retried(
    make: Callable[[int], TorchTrainer], workers: int, process: Mapping[str, float], *, fewest: int,
    stopped: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Run what a trainer that is made for each attempt runs; it waits for as long as nodes lack the room.

    Args:
        make: Of a trainer with so many workers that goes on from the latest checkpoint.
        workers: How many it has at most.
        process: CPUs and GPUs of each.
        fewest: With how many it makes do where nodes have left.
        stopped: Whether it is to wait no longer.

    Raises:
        UserError, DivergenceError: As a worker raised it.
        ResourceError: If workers died more than `RETRIES` times.
    """
    from ray.exceptions import RayActorError
    from ray.train.v2.api.exceptions import TrainingFailedError

    deaths = 0
    with findable_cluster():
        while there := _wait_for_room(fewest, process, stopped):
            try:
                make(min(workers, there)).fit()
                return
            except (TrainingFailedError, RayActorError) as error:
                if lacks_room(error):  # others have taken it, or a node left just now
                    _log.warning("Others have taken the room of the workers; waiting until it is free.")
                    continue
                reason, again = explain(error)
                if not again or deaths == RETRIES:
                    raise reason from None
                deaths += 1
                _log.warning("%s Starting again from the last checkpoint (%d of %d).", reason, deaths, RETRIES)


def _wait_for_room(workers: int, process: Mapping[str, float], stopped: Callable[[], bool]) -> int:
    """Wait until the nodes could hold so many workers; returns how many they can, or 0 if none are wanted any more."""
    told = False
    while not stopped():
        if (there := places(process, usable_nodes())) >= workers:
            return there
        if not told:
            _log.warning("No nodes have room for %d workers now; waiting until some join.", workers)
            told = True
        time.sleep(PAUSE)
    return 0


def lacks_room(error: Exception) -> bool:
    """Whether `fit` failed because the workers found no room within Ray Train's minute."""
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    return isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError)


def explain(error: Exception) -> tuple[Exception, bool]:
    """Find what a worker raised under what `fit` did, and whether a process died, so that trying again makes sense."""
    from ray.exceptions import RayActorError
    from ray.train.v2._internal.exceptions import (
        WorkerGroupStartupFailedError,
        WorkerHealthCheckFailedError,
        WorkerHealthCheckTimeoutError,
    )

    deaths = (RayActorError, WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError)
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    if own := [failure for failure in failures.values() if isinstance(failure, (UserError, DivergenceError))]:
        return own[0], False
    if lacking := [failure for failure in failures.values() if isinstance(failure, ResourceError)]:
        return lacking[0], True  # another node may have it
    dead = sorted(rank for rank, failure in failures.items() if isinstance(failure, deaths))
    if dead:  # its partners' broken connections are not the reason
        what = f"The process of worker {dead[0]} died: it was killed, most likely because memory ran out"
        return ResourceError(f"{what}; lower batch or micro_batch, or ask for fewer workers on a machine."), True
    if failures:
        return failures[min(failures)], False
    if isinstance(error, deaths):
        return ResourceError("The process that drives the workers died: it was killed, or memory ran out."), True
    cause = getattr(error, "controller_failure", error)
    if isinstance(cause, WorkerGroupStartupFailedError):
        return ResourceError("The workers' processes died while they started; look whether memory ran out."), True
    return RuntimeError(f"Ray Train could not run the workers: {first_line(cause)}"), False
