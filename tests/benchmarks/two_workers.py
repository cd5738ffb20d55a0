"""Updates per second of several workers against one, by Ray Train: `python -m tests.benchmarks.two_workers`.

On digits and on its network with random weights of larger width, by the preset `best`, a thread for each worker. What
eats the rest is named: what is not divided and what the machine takes, by processes that share the work without any
exchange (`ceiling`); waiting for each other, which is unequal work, and the exchange itself, by further updates in
which workers wait for each other before each exchange; and which processes are busy beside them (`busy`). Have as many
idle cores as workers.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from typing import TypedDict

import torch

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.cluster import start_ray
from mmd_ddm.experiment.distributed.spread import results
from mmd_ddm.experiment.presets import preset
from tests.benchmarks.busy import Busy
from tests.benchmarks.ceiling import WARM, Ceiling, ceiling
from tests.benchmarks.table import show
from tests.benchmarks.timed_updates import Updates


class Found(TypedDict):
    """Seconds of an update on the first worker: as it is, and with its parts where workers wait before exchanges."""

    update: float
    watched: float
    waiting: float
    exchange: float
    loss: float
    undivided: float  # clipping, Adam and EMA, which each worker does for itself
    beside: dict[str, float]  # shares of a core that processes of Ray and the driver take, by name
    threads: float  # that this worker's other threads take
    others: float  # that processes take which have nothing to do with it: 0 where the machine is idle


def work(
    config: Config,
    width: int,
    updates: int,
    driver: int,
    collective: Collective,
    device: torch.device,
    tell: Callable[[Found], None],
) -> None:
    """Run updates of the project's loop as one of the workers, and tell how long they took."""
    run = Updates(config, width, collective, device)
    run.run(WARM)
    busy = Busy(run.collective.gather_rows(torch.tensor([os.getpid()])).tolist(), driver)
    with busy.watched():
        update = run.run(updates)
    inside, undivided = run.inside(updates), run.undivided(updates)
    tell(
        Found(
            update=update, watched=inside.update, waiting=inside.waiting, exchange=inside.exchange, loss=inside.loss,
            undivided=undivided, beside=busy.beside, threads=busy.own_threads, others=busy.others,
        )
    )  # fmt: skip


def compare(config: Config, width: int, workers: int, updates: int) -> dict[int, Found]:
    """What an update takes with one worker and with several."""
    measured = partial(work, config, width, updates, os.getpid())
    return {count: next(results(measured, count, {"CPU": 1, "GPU": 0})) for count in (1, workers)}


def show_comparison(title: str, found: dict[int, Found]) -> None:
    head = ["workers", "updates/s", "ms", "watched ms", "waiting", "exchange", "loss", "clip+Adam+EMA", "ratio"]
    rows: list[list[object]] = [head]
    for count, each in found.items():
        parts = [1000 * each[name] for name in ("waiting", "exchange", "loss", "undivided")]
        times = [1 / each["update"], 1000 * each["update"], 1000 * each["watched"], *parts]
        rows.append([count, *times, found[1]["update"] / each["update"]])
    show(f"{title} (milliseconds of an update; bar 1.8)", rows)


def show_losses(workers: int, most: Ceiling, found: Found) -> None:
    """What an update of several workers takes, piece by piece, from an even share of the time of one to what it is."""
    even = most["whole"] / workers
    pieces = {
        f"1/{workers} of one process's update": even,
        "not divided (clip, Adam, EMA; small batches are slower)": most["part"] - even,
        "the machine: cores that are busy together are slower": most["together"] - most["part"],
        "waiting for each other": found["waiting"],
        "exchange": found["exchange"],
    }
    pieces["the rest (Ray's processes below, repulsion from all images)"] = found["update"] - sum(pieces.values())
    pieces[f"an update of {workers} workers"] = found["update"]
    show("where the time of an update goes", [["", "ms"], *([name, 1000 * each] for name, each in pieces.items())])
    ceiling_ratio, undivided = most["whole"] / most["together"], most["whole"] / most["part"]
    print(f"  the machine's own ceiling, processes that exchange nothing: {ceiling_ratio:.2f}; cores that don't slow "
          f"each other would give {undivided:.2f}")  # fmt: skip


def show_busy(found: Found) -> None:
    rows: list[list[object]] = [["process or thread", "share of a core"], *map(list, found["beside"].items())]
    rows += [["the first worker's other threads", found["threads"]], ["nothing to do with it", found["others"]]]
    show("busy beside the workers", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workers", type=int, default=2)
    add("--updates", type=int, default=20, help="that are measured, as they are and watched [20]")
    add("--batch", type=int, default=128, help="N, over all workers [128]")
    add("--dataset", default="digits")
    add("--widths", type=int, nargs="+", default=[1, 2], help="of the network, as multiples of its own [1 2]")
    add("--json", action="store_true", help="print the numbers as JSON too")
    options = parser.parse_args()
    import ray

    config = preset("best", options.dataset).replace(batch=options.batch)
    # without Ray's processes beside them
    most = {width: ceiling(config, width, options.workers, options.updates) for width in options.widths}
    start_ray(workers=options.workers)
    try:
        for width in options.widths:
            found = compare(config, width, options.workers, options.updates)
            show_comparison(f"{options.dataset}, {width} x its width, N {options.batch}", found)
            show_losses(options.workers, most[width], found[options.workers])
            show_busy(found[options.workers])
            if options.json:
                print(json.dumps({"width": width, "ceiling": most[width], "workers": found}), flush=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
