"""The gradient of an update: what its images start from, and by which route it is computed."""

from __future__ import annotations

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Chain, Start
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.collective import share
from mmd_ddm.experiment.build import Parts
from mmd_ddm.finetuning.fitting import fitting_gradient
from mmd_ddm.finetuning.memory import Route, choose_route


class UpdateGradient:
    """The gradient from this worker's share of each batch; its noise and labels depend on seed and position alone."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.noise = parts, NoiseSource(parts.config.seed, "training")
        self.labels = parts.label_source(parts.denoiser, "training")
        self.mine = share(parts.config.optimization.batch, parts.collective)
        self.turns = NoiseSource(parts.config.seed, "budget")
        self._ahead: dict[int, Start] = {}

    def choose_route(self) -> Route:
        """Choose what fits beside all else in memory, the same on all workers: they may sit on different machines."""
        parts, c = self.parts, self.parts.config.optimization
        parts.objective  # noqa: B018 (the real features take their memory first)
        workers = parts.collective.world
        few = 4 if parts.device.type == "cuda" else 2  # a GPU tells of passes in blocks, and autograd byte by byte
        start, largest = self._draw(parts.chain, 0, range(few)).to(parts.device), -(-c.batch // workers)
        mine = choose_route(parts.pipeline, start, largest, workers, gradient=c.gradient, micro_batch=c.micro_batch)
        stored = torch.tensor([[float(mine.gradient == "stored"), mine.micro_batch]], device=parts.device)
        everyone = parts.collective.gather_rows(stored)
        return Route("stored" if bool(everyone[:, 0].all()) else "replay", int(everyone[:, 1].min()))

    def compute(self, route: Route, update: int) -> tuple[Tensor, Route]:
        """Add the gradient to the network's parameters; returns the whole batch's loss and the route that fitted."""

        pipeline = self.parts.pipelines[self.budget(update)]

        drawn = self._ahead.pop(update) if update in self._ahead else self._draw(pipeline.chain, update, self.mine)

        def draw(size: int) -> tuple[Start, ...]:
            return drawn.to(self.parts.device, non_blocking=True).split(size)

        found = fitting_gradient(pipeline, self.parts.objective, route, draw, update)
        if self.parts.device.type == "cuda":  # which is still at it: 128 images take the CPU 6 ms (32 px), 220 (256 px)
            chain = self.parts.pipelines[self.budget(update + 1)].chain
            self._ahead = {update + 1: self._draw(chain, update + 1, self.mine)}
        return found

    def budget(self, update: int) -> int:
        """The budget that an update is for: each in turn, in an order that is drawn anew for each round of them."""
        budgets = self.parts.config.budgets
        if len(budgets) == 1:
            return budgets[0]
        past, place = divmod(update, len(budgets))
        return budgets[int(torch.randperm(len(budgets), generator=self.turns.generator(past))[place])]

    def _draw(self, chain: Chain, update: int, positions: range) -> Start:
        noise = self.noise.draw(update, positions, chain.draws, self.parts.denoiser.image_shape)
        drawn = Start(noise, None if self.labels is None else self.labels.draw(update, positions))
        return drawn.pin_memory() if self.parts.device.type == "cuda" else drawn
