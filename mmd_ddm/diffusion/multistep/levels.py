"""The noise levels of a chain and the exact step between two of them, of which all solvers are made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmd_ddm.diffusion.multistep.terms import EPSILON, Predicted, Terms, added, scaled

FEW = 15  # steps; below that multistep solvers lower their order towards the end (diffusers' `lower_order_final`)


@dataclass(frozen=True)
class Levels:
    """L levels in the order in which a chain meets them, and then the end, without noise: x = alpha x_0 + sigma z.

    Args:
        alpha: (L + 1,) float64, increasing to 1.
        sigma: (L + 1,) float64, decreasing to 0.
        lam: (L,) float64, half the log-SNR, log(alpha / sigma), of all but the end, where it is infinite.
    """

    alpha: Tensor
    sigma: Tensor
    lam: Tensor

    @classmethod
    def of(cls, alpha_bar: Tensor) -> Levels:
        """Read them off (L,) float64 values of alpha_bar; differentiable."""
        end = alpha_bar.new_ones(1)
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return cls(torch.cat([alpha, end]), torch.cat([sigma, 0 * end]), torch.logit(alpha_bar) / 2)

    def __len__(self) -> int:
        return len(self.lam)

    def move(self, start: int, end: int, image: Terms, predicted: Terms, kind: Predicted) -> Terms:
        """Go from an image at one level to another level with a prediction that stays what it is (DDIM's step).

        Song et al. 2021, Equation 12, with eta = 0: x' = alpha' x_0 + sigma' epsilon, where x = alpha x_0 + sigma
        epsilon gives the one that is not predicted.
        """
        alpha, sigma, after, noise = self.alpha[start], self.sigma[start], self.alpha[end], self.sigma[end]
        if kind == EPSILON:
            keep = after / alpha
            return added(scaled(keep, image), scaled(noise - sigma * keep, predicted))
        keep = noise / sigma
        return added(scaled(keep, image), scaled(after - alpha * keep, predicted))

    def order(self, k: int, most: int) -> int:
        """The order of the step from level k: as many predictions as there are, and few of few steps at the end."""
        return min(most, k + 1, len(self) - k if len(self) < FEW else most)
