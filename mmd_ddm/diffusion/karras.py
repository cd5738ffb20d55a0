"""Noise levels of Karras et al. 2022, between the timesteps of a process where need be."""

from __future__ import annotations

import torch
from torch import Tensor

from mmd_ddm.diffusion.timesteps import NOISIEST

RHO = 7.0  # their choice: steps are short where there is little noise


def karras(steps: int, alpha_bar: Tensor) -> Tensor:
    """Choose S noise levels with even steps of sigma^(1/rho), sigma = sqrt((1 - alpha_bar) / alpha_bar).

    sigma_i^(1/rho) = sigma_max^(1/rho) + i / (S-1) (sigma_min^(1/rho) - sigma_max^(1/rho)), i = 0 ... S-1 (Equation 5).

    Args:
        steps: S, at least 1.
        alpha_bar: (T,) float64, decreasing: sigma_min is of timestep 0; sigma_max of T-1, or where that is noisier
            than `NOISIEST`, that.

    Returns:
        (S,) float64, alpha_bar from the noisiest level on.
    """
    clean, noisy = (torch.logit(alpha_bar[end]) / 2 for end in (0, -1))
    first, last = ((-lam / RHO).exp() for lam in (torch.maximum(noisy, clean.clamp(max=NOISIEST)), clean))
    share = torch.arange(steps, dtype=torch.float64) / max(1, steps - 1)
    log_sigma = RHO * torch.lerp(first, last, share).log()
    return torch.sigmoid(-2 * log_sigma)
