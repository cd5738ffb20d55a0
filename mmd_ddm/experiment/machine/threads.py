"""How many threads of the CPU a command takes: as many as there are cores that nobody uses.

PyTorch takes one for each core of the machine, whatever a container or other programs leave of them. Threads that
wait for others in every sum are then several times slower than a single one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mmd_ddm.errors import UserError

VARIABLE = "OMP_NUM_THREADS"
_LOOK = 0.2  # seconds over which the cores are watched: 20 ticks of Linux's clock each
_STAT, _QUOTA = Path("/proc/stat"), Path("/sys/fs/cgroup/cpu.max")


def use_threads(asked: int | None) -> None:
    """Let this process, and what it starts, calculate with some threads.

    None leaves what OMP_NUM_THREADS says, and without it takes the idle cores. Nothing is imported for it.

    Raises:
        UserError: It is below 1.
    """
    if asked is None and VARIABLE in os.environ:
        return
    if asked is not None and asked < 1:
        raise UserError(f"--threads is {asked}; it must be at least 1")
    threads = idle_cores() if asked is None else asked
    os.environ[VARIABLE] = str(threads)  # read by PyTorch when it is imported
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


def idle_cores() -> int:
    """Count the cores that are idle at this moment, of those that this process may use, at least 1."""
    mine = os.sched_getaffinity(0)
    idle = float(len(mine))
    before = _ticks(mine)
    time.sleep(_LOOK)
    after = _ticks(mine)
    if len(before) == len(after) == len(mine) and all(
        now > then for (_, then), (_, now) in zip(before, after, strict=True)
    ):
        idle = sum((i - i0) / (t - t0) for (i0, t0), (i, t) in zip(before, after, strict=True))
    return max(1, round(min(idle, _quota())))


def _ticks(cores: set[int]) -> list[tuple[int, int]]:
    """Ticks of the clock in which each core was idle, and all, since the start, of those of which Linux tells."""
    if not _STAT.exists():
        return []
    rows = (line.split() for line in _STAT.read_text().splitlines())
    found = {row[0]: [int(each) for each in row[1:9]] for row in rows if row and row[0].startswith("cpu")}
    # user, nice, system, idle, waiting for a disk, ...; what guests used is in user already
    return [(counts[3] + counts[4], sum(counts)) for core in sorted(cores) if (counts := found.get(f"cpu{core}"))]


def _quota() -> float:
    """Cores that the container leaves to this process."""
    words = _QUOTA.read_text().split() if _QUOTA.exists() else ["max"]
    return float("inf") if words[0] == "max" else int(words[0]) / int(words[1])
