"""DDPM ancestral sampling (Ho et al. 2020) on a subset of the timesteps (Nichol & Dhariwal 2021, Section 4)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mmd_ddm.diffusion.chain import State


@dataclass(frozen=True)
class DDPM:
    """Ho et al. 2020, Equations 6, 7 and 11, with beta = 1 - a/a' between neighbouring levels a < a' of the subset.

    x' = sqrt(a') beta / (1-a) x_0 + sqrt(a/a') (1-a') / (1-a) x + sigma z. The variance sigma^2 is the posterior's,
    beta (1-a') / (1-a) (`fixed_small`), or beta (`fixed_large`). The last step adds no noise.

    Args:
        alpha_bar: S values, in the order in which the chain meets them (increasing).
        variance: `fixed_small` or `fixed_large`.
    """

    alpha_bar: tuple[float, ...]
    variance: str = "fixed_small"

    @property
    def stochastic(self) -> bool:
        """Always: each step but the last needs noise."""
        return True

    def step(self, state: State, epsilon: Tensor, k: int, noise: Tensor | None) -> State:
        """One step from the k-th noise level to the next, after the last to alpha_bar = 1."""
        now, after = self.alpha_bar[k], (*self.alpha_bar, 1.0)[k + 1]
        beta = 1 - now / after
        clean = (state.image - (1 - now) ** 0.5 * epsilon) / now**0.5
        image = after**0.5 * beta / (1 - now) * clean + (now / after) ** 0.5 * (1 - after) / (1 - now) * state.image
        if noise is None:
            return State(image)
        small = self.variance == "fixed_small"
        return State(image + (beta * (1 - after) / (1 - now) if small else beta) ** 0.5 * noise)
