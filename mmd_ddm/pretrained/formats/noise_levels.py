"""The process of NVlabs' networks, which is continuous, cut into timesteps (Karras et al. 2022, Table 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from mmd_ddm.errors import UserError

LENGTH = 1000  # T
SIGMA_MIN, SIGMA_MAX = 0.002, 80.0  # of the authors' sampler
_RHO = 7.0


def noise_levels(low: float, high: float, length: int) -> Tensor:
    """Return (T,) noise levels in float64, increasing, in even steps of sigma^(1/7) (Equation 5).

    Raises:
        UserError: there are less than 2.
    """
    if length < 2:
        raise UserError(f"--length is {length}; a process from one noise level to another has at least 2 timesteps")
    return torch.linspace(low ** (1 / _RHO), high ** (1 / _RHO), length, dtype=torch.float64) ** _RHO


def scheduler_of(sigmas: Tensor, prediction_type: str) -> dict[str, object]:
    """Return the config of a `DDIMScheduler`: alpha_bar = 1 / (1 + sigma^2), as betas."""
    before = torch.cat([sigmas.new_zeros(1), sigmas[:-1]])
    betas = (sigmas**2 - before**2) / (1 + sigmas**2)  # 1 - alpha_bar / alpha_bar before
    return {
        "num_train_timesteps": len(sigmas),
        "trained_betas": betas.tolist(),
        "prediction_type": prediction_type,
        "clip_sample": False,
        "set_alpha_to_one": True,
        "timestep_spacing": "trailing",
    }
