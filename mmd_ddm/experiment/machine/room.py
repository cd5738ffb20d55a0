"""Room on a machine: shared memory, and disks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mmd_ddm.experiment.machine.finding import Finding, fault, ok
from mmd_ddm.files import cache_home, nearest_existing

SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = 2**30  # bytes: NCCL's buffers and Ray's object store; a container has 64 MiB unless it is given more
LEAST_DISK = 5 * 10**9  # bytes: a few checkpoints of the paper's largest model
FULL = 0.95  # of a disk, above which Ray keeps no objects on it


def check_shared_memory(place: Path = SHARED_MEMORY) -> Finding:
    """Look for room that processes share; without it NCCL ends with a bus error and Ray falls back to files."""
    what = "shared memory"
    if not place.is_dir():
        return fault(what, f"there is no {place}; mount a tmpfs there")
    free = shutil.disk_usage(place).free
    said = f"{free / 2**30:.1f} GiB free in {place}"
    if free < LEAST_SHARED:
        return fault(what, f"{said}; give it {LEAST_SHARED / 2**30:.0f} at least (of a container: --shm-size=8g)")
    return ok(what, said)


def check_disks(shared: Path | None) -> list[Finding]:
    """Look for room where runs, caches and Ray write.

    Args:
        shared: The folder that all machines share, if there is one.
    """
    places = [cache_home(), Path(tempfile.gettempdir()), *([shared] if shared else [])]
    return [judge(place, *_usage(place)) for place in _on_different_disks(places)]


def judge(place: Path, free: int, total: int) -> Finding:
    """Compare what is free of a disk, in bytes, with what is needed."""
    said = f"{free / 1e9:.0f} of {total / 1e9:.0f} GB free at {place}"
    if free < LEAST_DISK:
        return fault("disk", f"{said}; make room for {LEAST_DISK / 1e9:.0f} GB")
    if free < (1 - FULL) * total:
        return fault("disk", f"{said}; Ray keeps no objects on a disk that is more than {100 * FULL:.0f} % full")
    return ok("disk", said)


def _usage(place: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(nearest_existing(place))
    return usage.free, usage.total


def _on_different_disks(places: Iterable[Path]) -> list[Path]:
    found: dict[int, Path] = {}
    for place in places:
        found.setdefault(nearest_existing(place).stat().st_dev, place)
    return list(found.values())
