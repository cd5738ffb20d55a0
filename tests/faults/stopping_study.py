"""A search that stops each trial at its first scoring, and tells in `freed.txt` how long what it held stayed.

Run as a script with the arguments of tune/search.py. Each line is the seconds until the trial's processes and
placement groups were gone, and how many there were of both.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ray.tune.schedulers import TrialScheduler

from tests.faults.running import MARK, marked, title
from tune.trials.asha import Halving

PATIENCE = 120.0  # seconds
# what runs it, drives its workers, they, where they meet, what takes their reports, what watches its placement group
OF_A_TRIAL = (
    "ImplicitFunc", "TrainController", "RayTrainWorker", "SynchronizationActor", "_QueueActor", "PlacementGroupCleaner"
)  # fmt: skip


def held() -> tuple[set[int], set[str]]:
    """The actors' processes, and the placement groups that are there."""
    from ray.util import placement_group_table

    mark = f"{MARK}={os.environ[MARK]}"
    processes = {each for each in marked(mark) if any(kind in title(each) for kind in OF_A_TRIAL)}
    return processes, {id for id, group in placement_group_table().items() if group["state"] != "REMOVED"}


class StopAll(Halving):
    """Early stopping without mercy."""

    def on_trial_result(self, tune_controller: ModuleType, trial: object, result: dict[str, float]) -> str:
        threading.Thread(target=tell, args=(*held(), time.monotonic())).start()
        return TrialScheduler.STOP


def tell(processes: set[int], groups: set[str], begun: float) -> None:
    """Wait until some processes and placement groups are gone, and write down how long that took."""
    while time.monotonic() < begun + PATIENCE:
        still, there = held()
        if not (still & processes or there & groups):
            break
        time.sleep(0.2)
    with Path("freed.txt").open("a") as file:
        left = " ".join(title(each).strip() for each in still & processes)
        file.write(f"{time.monotonic() - begun:.1f} {len(processes)} {len(groups)} {left}\n")


if __name__ == "__main__":
    import tune.commands.run_search
    import tune.search

    tune.commands.run_search.Halving = StopAll
    sys.exit(tune.search.main())
