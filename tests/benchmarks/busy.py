"""Which processes and threads keep the processor busy besides those that are measured (Linux)."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """One of this machine."""

    name: str
    parent: int
    seconds: float  # of the processor's time so far


def seconds_of(stat: str) -> float:
    """User and system time in a line of /proc/PID/stat, whose second field, in brackets, may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def processes() -> dict[int, Process]:
    """All processes by their number."""
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile
                stat = (folder / "stat").read_text()
                words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                scripts = [Path(word).name for word in words if word.endswith(".py")]
                name = scripts[0] if scripts else Path(words[0].split(" ")[0]).name
                parent = int(stat.rpartition(")")[2].split()[1])
                found[int(folder.name)] = Process(name or "kernel", parent, seconds_of(stat))
    return found


def threads() -> dict[int, float]:
    """Processor seconds of this process's threads."""
    found = {}
    for folder in (PROC / "self" / "task").iterdir():
        with suppress(OSError):
            found[int(folder.name)] = seconds_of((folder / "stat").read_text())
    return found


class Busy:
    """Shares of a core, within `watched`, of what is not measured itself.

    Args:
        measured: processes that are.
        root: the process that started them, and all else that belongs to them.
    """

    def __init__(self, measured: list[int], root: int) -> None:
        self.measured, self.root = set(measured), root
        self.beside: dict[str, float] = {}  # by name, of processes of the root's
        self.others = 0.0  # of processes that have nothing to do with it
        self.own_threads = 0.0  # of this process, all but the one that calls

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Within it the work is done."""
        start, before, mine = time.perf_counter(), processes(), threads()
        yield
        after, my_threads, wall = processes(), threads(), time.perf_counter() - start
        used = {
            pid: (each.seconds - (before[pid].seconds if pid in before else 0.0)) / wall for pid, each in after.items()
        }
        ours: Counter[str] = Counter()
        for pid, each in after.items():
            if pid in self.measured:
                continue
            if self._of_root(pid, after):
                ours[each.name] += used[pid]
            else:
                self.others += used[pid]
        self.beside = {name: share for name, share in ours.most_common() if share >= 0.001}
        me = threading.get_native_id()
        self.own_threads = sum(s - mine.get(tid, 0.0) for tid, s in my_threads.items() if tid != me) / wall

    def _of_root(self, pid: int, there: dict[int, Process]) -> bool:
        while pid in there and pid != self.root:
            pid = there[pid].parent
        return pid == self.root
