"""DDPM ancestral sampling (Ho et al. 2020) on a subset of the timesteps (Nichol & Dhariwal 2021, Section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.chain import State
from mmd_ddm.diffusion.denoiser import Prediction


@dataclass(frozen=True)
class DDPM:
    """Ho et al. 2020, Equations 6, 7 and 11, with beta = 1 - a/a' between neighbouring levels a < a' of the subset.

    x' = sqrt(a') beta / (1-a) x_0 + sqrt(a/a') (1-a') / (1-a) x + sigma z. The variance sigma^2 is the posterior's,
    beta_tilde = beta (1-a') / (1-a) (`fixed_small`), or beta (`fixed_large`), or the network's own between the two
    (`learned_range`; Nichol & Dhariwal 2021, Equation 15): log sigma^2 = w log beta + (1-w) log beta_tilde with
    w = (v+1) / 2, pixel by pixel. The last step adds no noise.

    Args:
        alpha_bar: S values, in the order in which the chain meets them (increasing).
        variance: `fixed_small`, `fixed_large`, or `learned_range` for a network that predicts v.
    """

    alpha_bar: tuple[float, ...]
    variance: str = "fixed_small"

    @property
    def stochastic(self) -> bool:
        """Always: each step but the last needs noise."""
        return True

    @property
    def carried(self) -> int:
        """The image alone moves along the chain."""
        return 1

    def step(self, state: State, predicted: Prediction, k: int, noise: Float[Tensor, "N C H W"] | None) -> State:
        """One step from the k-th noise level to the next, after the last to alpha_bar = 1."""
        now, after = self.alpha_bar[k], (*self.alpha_bar, 1.0)[k + 1]
        beta = 1 - now / after
        clean = (state.image - (1 - now) ** 0.5 * predicted.epsilon) / now**0.5
        image = after**0.5 * beta / (1 - now) * clean + (now / after) ** 0.5 * (1 - after) / (1 - now) * state.image
        if noise is None:
            return State(image)
        small = beta * (1 - after) / (1 - now)
        if self.variance != "learned_range":
            return State(image + (small if self.variance == "fixed_small" else beta) ** 0.5 * noise)
        if predicted.variance is None:
            raise ValueError("variance learned_range needs a network that predicts it")
        share = (predicted.variance + 1) / 2
        return State(image + (0.5 * (share * math.log(beta) + (1 - share) * math.log(small))).exp() * noise)
