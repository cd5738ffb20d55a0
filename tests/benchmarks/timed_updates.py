"""Updates of the project's own loop as one of some workers, and how long they and their parts take."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.interruption import leader_asked
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.finetuning import loop
from mmd_ddm.finetuning.checkpoint import TrainingState
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.pretrained.configs import unet_config
from mmd_ddm.pretrained.formats.architecture import build_unet


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


class Inside(NamedTuple):
    """Seconds of an update in which workers wait for each other before exchanges, and of its parts."""

    update: float
    waiting: float
    exchange: float
    loss: float


def widened(parts: Parts, width: int) -> None:
    """Give a run a network of several times the width, with random weights."""
    own, plain = parts.denoiser, unet_config(parts.folder)
    blocks = plain["block_out_channels"]
    assert isinstance(blocks, list | tuple)
    torch.manual_seed(0)
    network = build_unet({**plain, "block_out_channels": tuple(width * each for each in blocks)})
    parts.__dict__["denoiser"] = Denoiser(network, own.schedule, own.image_shape).to(parts.device).eval()


class Updates:
    """A run as one of some workers, of which so many updates are made as one asks for."""

    def __init__(self, config: Config, width: int, collective: Collective, device: torch.device) -> None:
        self.collective, self.loss, self.ends = Watched(collective), 0.0, list[float]()
        parts = Parts(config, device, self.collective)
        if width > 1:
            widened(parts, width)
        adam = torch.optim.Adam(parts.denoiser.parameters(), lr=1e-6)
        self.state = TrainingState(parts.denoiser, adam, EMA(parts.denoiser, 0.97))
        self.gradient = UpdateGradient(parts)
        self.state.route = Route("stored", len(self.gradient.mine))
        self.objective = parts.objective
        parts.__dict__["objective"] = self._timed_objective

    def run(self, updates: int) -> float:
        """The median of their seconds, after one that is not counted."""
        self.ends.clear()
        loop.finetune(
            self.state, self._compute, updates=self.state.update + updates + 1, clip=1.0, collective=self.collective,
            milestones=(), on_update=lambda record: self.ends.append(time.perf_counter()),
            on_milestone=lambda state: None, should_stop=leader_asked(Path(tempfile.gettempdir()), self.collective),
        )  # fmt: skip
        return statistics.median(b - a for a, b in pairwise(self.ends))

    def inside(self, updates: int) -> Inside:
        """What parts take in further updates."""
        watched = self.collective
        watched.watching, watched.waiting, watched.exchange, self.loss = True, 0.0, 0.0, 0.0
        update = self.run(updates)
        watched.watching = False
        return Inside(update, *(each / (updates + 1) for each in (watched.waiting, watched.exchange, self.loss)))

    def undivided(self, updates: int) -> float:
        """Seconds of what every worker does for itself in an update: clipping, Adam, EMA."""
        seconds, state = [], self.state
        assert state.ema is not None
        for _ in range(updates):
            start = time.perf_counter()
            nn.utils.clip_grad_norm_(state.denoiser.parameters(), 1.0)
            state.optimizer.step()
            state.ema.update(state.denoiser, state.update)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    def _compute(self, update: int) -> Tensor:
        assert self.state.route is not None
        return self.gradient.compute(self.state.route, update)[0]

    def _timed_objective(self, features: Tensor, update: int) -> object:
        watched = self.collective
        start, exchanged = time.perf_counter(), watched.waiting + watched.exchange
        found = self.objective(features, update)
        self.loss += time.perf_counter() - start - (watched.waiting + watched.exchange - exchanged)
        return found
