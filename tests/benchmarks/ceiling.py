"""What a machine lets several processes reach at most: each does its part of a batch, and nobody exchanges anything."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TypedDict

import torch
import torch.distributed as dist

from mmd_ddm.discrepancy.collective import Collective, SingleCollective
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.processes import in_processes
from tests.benchmarks.timed_updates import Updates

WARM = 2  # updates before those that count


class Ceiling(TypedDict):
    """Seconds of an update of one process without partners, with a thread."""

    whole: float  # of the whole batch, all other cores idle
    part: float  # of a worker's part of it, all other cores idle
    together: float  # of a worker's part, while as many processes as workers do the same: of the slowest of them


def ceiling(config: Config, width: int, workers: int, updates: int) -> Ceiling:
    """Measure all three in the same processes, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "found.json"
        in_processes(partial(_measure, config, width, updates, file), workers)
        found: Ceiling = json.loads(file.read_text())
        return found


def _measure(
    config: Config, width: int, updates: int, file: Path, collective: Collective, device: torch.device
) -> None:
    torch.set_num_threads(1)
    alone, batch, whole = SingleCollective(), config.optimization.batch, 0.0
    share = Updates(config.replace(batch=batch // collective.world), width, alone, device)
    share.run(WARM)
    if collective.rank == 0:  # the others wait idly
        everything = Updates(config, width, alone, device)
        everything.run(WARM)
        whole, part = everything.run(updates), share.run(updates)
    dist.barrier()
    each = torch.tensor([share.run(updates)], dtype=torch.float64)
    slowest = float(collective.gather_rows(each).max())
    if collective.rank == 0:
        file.write_text(json.dumps(Ceiling(whole=whole, part=part, together=slowest)))
