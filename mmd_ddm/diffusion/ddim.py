"""DDIM (Song et al. 2021): deterministic for eta = 0, as noisy as ancestral sampling for eta = 1."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.chain import State
from mmd_ddm.diffusion.denoiser import Prediction


@dataclass(frozen=True)
class DDIM:
    """Song et al. 2021, Equations 12 and 16.

    x' = sqrt(a') x_0 + sqrt(1 - a' - sigma^2) epsilon + sigma z, with x_0 = (x - sqrt(1-a) epsilon) / sqrt(a) and
    sigma = eta sqrt((1-a') / (1-a)) sqrt(1 - a/a').

    Args:
        alpha_bar: S values, in the order in which the chain meets them (increasing).
        eta: 0 to 1.
    """

    alpha_bar: tuple[float, ...]
    eta: float = 0.0

    @property
    def stochastic(self) -> bool:
        """Whether a step needs noise."""
        return self.eta > 0

    @property
    def carried(self) -> int:
        """The image alone moves along the chain."""
        return 1

    def step(self, state: State, predicted: Prediction, k: int, noise: Float[Tensor, "N C H W"] | None) -> State:
        """One step from the k-th noise level to the next, after the last to alpha_bar = 1."""
        epsilon = predicted.epsilon
        now, after = self.alpha_bar[k], (*self.alpha_bar, 1.0)[k + 1]
        sigma = self.eta * ((1 - after) / (1 - now) * (1 - now / after)) ** 0.5
        clean = (state.image - (1 - now) ** 0.5 * epsilon) / now**0.5
        image = after**0.5 * clean + max(0.0, 1 - after - sigma**2) ** 0.5 * epsilon
        return State(image if noise is None else image + sigma * noise)
