"""The sampling chain: S alternations of one network evaluation and one pure solver step (paper, Section III-B).

The gradient has to go through the chain, and the chain has to be replayable piece by piece: so a solver carries no
state, all that moves is in `State`, and random numbers come from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmd_ddm.diffusion.budgets import is_guided
from mmd_ddm.diffusion.denoiser import Denoiser, Prediction


class Start(NamedTuple):
    """What N images are generated from.

    Args:
        noise: standard normal, (draws, N, C, H, W); noise[0] is the initial image.
        labels: their class labels (N,), int64, for a class-conditional model.
    """

    noise: Tensor
    labels: Tensor | None = None

    @property
    def images(self) -> int:
        """N."""
        return self.noise.shape[1]

    def to(self, device: torch.device, *, non_blocking: bool = False) -> Start:
        """The same on a device."""
        return self._map(lambda each: each.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Start:
        """The same in memory that a GPU reads by itself."""
        return self._map(Tensor.pin_memory)

    def split(self, size: int | list[int]) -> tuple[Start, ...]:
        """The same for so many images at a time."""
        noises = self.noise.split(size, dim=1)
        labels = [None] * len(noises) if self.labels is None else self.labels.split(size)
        return tuple(map(Start, noises, labels))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Start:
        return Start(change(self.noise), None if self.labels is None else change(self.labels))


class State(NamedTuple):
    """What moves along the chain, tensors (N, C, H, W), and the class labels that stay as they are.

    Args:
        image: at which the network is evaluated next.
        base: an image that a solver's later steps start from; none if they start from the image.
        history: former predictions that they use, the latest first.
        labels: (N,) int64, of a class-conditional model; the chain's, of which solvers know nothing.
    """

    image: Tensor
    base: Tensor | None = None
    history: tuple[Tensor, ...] = ()
    labels: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that moves, in one order."""
        return self.image, *(() if self.base is None else (self.base,)), *self.history

    def map(self, change: Callable[[Tensor], Tensor]) -> State:
        """The state with each tensor that moves changed."""
        base = None if self.base is None else change(self.base)
        return State(change(self.image), base, tuple(change(each) for each in self.history), self.labels)


class Solver(Protocol):
    """A sampler's update rule."""

    @property
    def stochastic(self) -> bool:
        """Whether each step but the last is given noise."""

    @property
    def carried(self) -> int:
        """How many tensors each step adds to what moves along the chain, the image and what else it keeps."""

    def step(self, state: State, predicted: Prediction, k: int, noise: Float[Tensor, "N C H W"] | None) -> State:
        """The k-th step, k = 0 ... S-1 from the noisiest level on; differentiable in `state` and `predicted`."""


@dataclass(frozen=True)
class Chain:
    """A sampler with the times of its predictions, from the noisiest on, for which the solver was made.

    Args:
        solver: its update rule.
        timesteps: whole, or with levels anywhere from 0 to T-1.
        levels: alpha_bar of each; none: the model's at whole timesteps.
        guidance_scale: w of `Denoiser.predict`.
    """

    solver: Solver
    timesteps: tuple[float, ...]
    levels: tuple[float, ...] | None = field(default=None, kw_only=True)
    guidance_scale: float | None = field(default=None, kw_only=True)

    @property
    def nfe(self) -> int:
        """S, the network evaluations of an image: one a prediction, two with guidance."""
        return len(self.timesteps) * (2 if is_guided(self.guidance_scale) else 1)

    @property
    def draws(self) -> int:
        """How many standard normal images one sample needs: the initial one, and one a noisy step."""
        return len(self.timesteps) if self.solver.stochastic else 1

    def settled(self) -> Chain:
        """This chain while its parameters stay: what all steps need is worked out once, where no gradient is kept."""
        return self

    def step(self, denoiser: Denoiser, state: State, k: int, noise: Float[Tensor, "draws N C H W"]) -> State:
        """Go the k-th step down, from k = 0 on, with one prediction; noise[0] is the initial image."""
        used = noise[k + 1] if k + 1 < len(noise) else None
        level = None if self.levels is None else self.levels[k]
        predicted = denoiser.predict(
            state.image, self.timesteps[k], level, labels=state.labels, guidance_scale=self.guidance_scale
        )
        return self.solver.step(state, predicted, k, used)._replace(labels=state.labels)

    def sample(
        self, denoiser: Denoiser, noise: Float[Tensor, "draws N c h w"], labels: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N C H W"]:
        """Generate images, nominally in [-1, 1], not clamped, from standard normal noise; a latent model's decoded."""
        chain, state = self.settled(), State(noise[0], labels=labels)
        for k in range(len(self.timesteps)):
            state = chain.step(denoiser, state, k, noise)
        return denoiser.decode(state.image)
