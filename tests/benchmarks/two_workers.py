"""Updates per second of several workers against one, by Ray Train: `python -m tests.benchmarks.two_workers`.

On digits and on its network with random weights of larger width, by the preset `best`, a thread for each worker. What
eats the rest is measured in further updates, in which workers wait for each other before each exchange: the waiting is
unequal work, the rest of an exchange is communication. Beside them stands what each worker does for itself alone
(clipping, Adam, EMA) and the loss, of which each has its share. Have as many idle cores as workers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.distributed.cluster import start_ray
from mmd_ddm.experiment.distributed.spread import results
from mmd_ddm.experiment.interruption import leader_asked
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.finetuning import loop
from mmd_ddm.finetuning.checkpoint import TrainingState
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.pretrained.configs import unet_config
from mmd_ddm.pretrained.formats.architecture import build_unet
from tests.benchmarks.table import show

WARM = 2  # updates before those that count
WIDTHS = (1, 2)


class Found(TypedDict):
    """Seconds of an update on the first worker: as it is, and with its parts where workers wait before exchanges."""

    update: float
    instrumented: float
    waiting: float
    exchange: float
    loss: float
    alone: float


class Watched:
    """Workers that wait for each other before each exchange, and know how long they waited and exchanged."""

    def __init__(self, inner: Collective) -> None:
        self.inner, self.rank, self.world = inner, inner.rank, inner.world
        self.watching, self.waiting, self.exchange = False, 0.0, 0.0

    def gather_rows(self, rows: Tensor) -> Tensor:
        return self._timed(partial(self.inner.gather_rows, rows))

    def sum_(self, tensor: Tensor) -> Tensor:
        return self._timed(partial(self.inner.sum_, tensor))

    def _timed(self, work: Callable[[], Tensor]) -> Tensor:
        if not self.watching or self.world == 1:
            return work()
        start = time.perf_counter()
        dist.barrier()
        met = time.perf_counter()
        found = work()
        self.waiting += met - start
        self.exchange += time.perf_counter() - met
        return found


def widened(parts: Parts, width: int) -> None:
    """Give a run a network of several times the width, with random weights."""
    own, plain = parts.denoiser, unet_config(parts.folder)
    blocks = plain["block_out_channels"]
    assert isinstance(blocks, list | tuple)
    torch.manual_seed(0)
    network = build_unet({**plain, "block_out_channels": tuple(width * each for each in blocks)})
    parts.__dict__["denoiser"] = Denoiser(network, own.schedule, own.image_shape).to(parts.device).eval()


def work(
    config: Config,
    width: int,
    updates: int,
    collective: Collective,
    device: torch.device,
    tell: Callable[[Found], None],
) -> None:
    """Run updates of the project's loop as one of the workers, and tell how long they took."""
    watched = Watched(collective)
    parts = Parts(config, device, watched)
    if width > 1:
        widened(parts, width)
    parameters = parts.denoiser.parameters()
    state = TrainingState(parts.denoiser, torch.optim.Adam(parameters, lr=1e-6), EMA(parts.denoiser, 0.97))
    gradient, ends, loss = UpdateGradient(parts), list[float](), 0.0
    state.route = Route("stored", len(gradient.mine))
    objective = parts.objective

    def timed_objective(features: Tensor, update: int) -> object:
        nonlocal loss
        start, exchanged = time.perf_counter(), watched.waiting + watched.exchange
        found = objective(features, update)
        loss += time.perf_counter() - start - (watched.waiting + watched.exchange - exchanged)
        return found

    parts.__dict__["objective"] = timed_objective

    def compute(update: int) -> Tensor:
        assert state.route is not None
        return gradient.compute(state.route, update)[0]

    def run(until: int) -> float:
        ends.clear()
        loop.finetune(
            state, compute, updates=until, clip=1.0, collective=watched, milestones=(),
            on_update=lambda record: ends.append(time.perf_counter()), on_milestone=lambda state: None,
            should_stop=leader_asked(Path(tempfile.gettempdir()), watched),
        )  # fmt: skip
        return statistics.median(b - a for a, b in pairwise(ends))

    run(WARM + 2)
    update = run(state.update + updates + 1)
    watched.watching, loss = True, 0.0
    watched.waiting = watched.exchange = 0.0
    instrumented = run(state.update + updates + 1)
    waiting, exchange, loss = (each / (updates + 1) for each in (watched.waiting, watched.exchange, loss))
    alone = _alone(state, updates)
    tell(Found(update=update, instrumented=instrumented, waiting=waiting, exchange=exchange, loss=loss, alone=alone))


def _alone(state: TrainingState, updates: int) -> float:
    """Seconds of what every worker does for itself in an update."""
    seconds = []
    for _ in range(updates):
        start = time.perf_counter()
        nn.utils.clip_grad_norm_(state.denoiser.parameters(), 1.0)
        state.optimizer.step()
        assert state.ema is not None
        state.ema.update(state.denoiser, state.update)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def compare(dataset: str, width: int, workers: int, updates: int, batch: int) -> tuple[dict[int, Found], float]:
    """What one worker and several take, and the ratio of their updates per second."""
    config = preset("best", dataset).replace(batch=batch)
    found = {
        count: next(results(partial(work, config, width, updates), count, {"CPU": 1, "GPU": 0}))
        for count in (1, workers)
    }
    return found, found[1]["update"] / found[workers]["update"]


def show_comparison(title: str, found: dict[int, Found], ratio: float) -> None:
    head = ["workers", "updates/s", "ms", "watched ms", "waiting", "exchange", "loss", "clip+Adam+EMA", "ratio"]
    rows: list[list[object]] = [head]
    for count, each in found.items():
        parts = [1000 * each[name] for name in ("waiting", "exchange", "loss", "alone")]
        times = [1 / each["update"], 1000 * each["update"], 1000 * each["instrumented"], *parts]
        rows.append([count, *times, ratio if count > 1 else 1.0])
    show(f"{title} (milliseconds of an update; bar 1.8)", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--workers", type=int, default=2)
    add("--updates", type=int, default=20, help="that are measured, as they are and watched [20]")
    add("--batch", type=int, default=128, help="N, over all workers [128]")
    add("--dataset", default="digits")
    add("--json", action="store_true", help="print the numbers as JSON too")
    options = parser.parse_args()
    import ray

    start_ray(workers=options.workers)
    try:
        for width in WIDTHS:
            found, ratio = compare(options.dataset, width, options.workers, options.updates, options.batch)
            show_comparison(f"{options.dataset}, {width} x its width, N {options.batch}", found, ratio)
            if options.json:
                print(json.dumps({"width": width, "ratio": ratio, "workers": found}), flush=True)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
