"""What one update adds to the memory of a process: `python -m tests.benchmarks.one_update ROUTE STEPS BATCH MICRO`.

Imports leave a peak of their own above what stays resident, under which a small update would hide. Where the system
can forget a peak (Linux), `rise` is measured from what is resident just before the update; elsewhere from the peak.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from pathlib import Path

import torch

import mmd_ddm.discrepancy.bank
from tests.digits_update import DigitsUpdate

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> int:
    """The largest resident size since `forget_peak`, in bytes."""
    if not STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    # not rusage here: a process inherits the peak of the one that started it
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    if FORGET.exists():
        FORGET.write_text("5")


def update_peaks(route: str, steps: int, batch: int, micro: int) -> dict[str, float]:
    """By how many bytes the update raises the peak, the peak, and the loss."""
    update = DigitsUpdate(steps, batch, micro)
    update.prepare()
    gc.collect()
    so_far = peak()
    forget_peak()
    before = peak()
    mmd2 = update.gradient(route)
    return {"rise": peak() - before, "peak": max(so_far, peak()), "mmd2": mmd2}


def main(route: str, *sizes: str) -> None:
    torch.set_num_threads(1)
    mmd_ddm.discrepancy.bank.EMBED_BATCH = 16  # embedding the bank in larger parts would take what it then frees
    print(json.dumps(update_peaks(route, *map(int, sizes))))


if __name__ == "__main__":
    main(*sys.argv[1:])
