"""The sampling chain: S alternations of one network evaluation and one pure solver step (paper, Section III-B).

The gradient has to go through the chain, and the chain has to be replayable piece by piece: so a solver carries no
state, all that moves is in `State`, and random numbers come from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.denoiser import Denoiser, Prediction


class State(NamedTuple):
    """What moves along the chain, tensors (N, C, H, W).

    Args:
        image: at which the network is evaluated next.
        base: an image that a solver's later steps start from; none if they start from the image.
        history: former predictions that they use, the latest first.
    """

    image: Tensor
    base: Tensor | None = None
    history: tuple[Tensor, ...] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, in one order."""
        return self.image, *(() if self.base is None else (self.base,)), *self.history

    def map(self, change: Callable[[Tensor], Tensor]) -> State:
        """The state with each tensor changed."""
        base = None if self.base is None else change(self.base)
        return State(change(self.image), base, tuple(change(each) for each in self.history))


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
    """A sampler with the timesteps of its S evaluations, from the noisiest on, for which the solver was made."""

    solver: Solver
    timesteps: tuple[int, ...]

    @property
    def draws(self) -> int:
        """How many standard normal images one sample needs: the initial one, and one a noisy step."""
        return len(self.timesteps) if self.solver.stochastic else 1

    def step(self, denoiser: Denoiser, state: State, k: int, noise: Float[Tensor, "draws N C H W"]) -> State:
        """Go the k-th step down, k = 0 ... S-1, with one network evaluation; noise[0] is the initial image."""
        used = noise[k + 1] if k + 1 < len(noise) else None
        return self.solver.step(state, denoiser.predict(state.image, self.timesteps[k]), k, used)

    def sample(self, denoiser: Denoiser, noise: Float[Tensor, "draws N c h w"]) -> Float[Tensor, "N C H W"]:
        """Generate images, nominally in [-1, 1], not clamped, from standard normal noise; a latent model's decoded."""
        state = State(noise[0])
        for k in range(len(self.timesteps)):
            state = self.step(denoiser, state, k, noise)
        return denoiser.decode(state.image)
