"""From a sampler's name and budget to a chain."""

from __future__ import annotations

from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.ddim import DDIM
from mmd_ddm.diffusion.ddpm import DDPM
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.timesteps import timesteps
from mmd_ddm.errors import UserError

SAMPLERS = ("ddim", "ddpm")
VARIANCES = ("fixed_small", "fixed_large")


def make_chain(
    noise_schedule: NoiseSchedule,
    *,
    sampler: str = "ddim",
    steps: int = 5,
    schedule: str = "linear",
    eta: float = 0.0,
    variance: str = "fixed_small",
) -> Chain:
    """Build the chain of a sampler with a budget.

    Args:
        noise_schedule: of the model.
        sampler: `ddim` or `ddpm`.
        steps: S, the number of network evaluations (for `stride` at least that many).
        schedule: `linear`, `quadratic` or `stride`.
        eta: DDIM's noise, 0 to 1.
        variance: DDPM's, `fixed_small` or `fixed_large`.

    Raises:
        UserError: a name or number outside what is allowed.
    """
    order = timesteps(schedule, steps, noise_schedule.length)[::-1]
    levels = tuple(noise_schedule.alpha_bar[list(order)].tolist())
    if sampler == "ddim":
        return Chain(DDIM(levels, eta), order)
    if sampler == "ddpm":
        if variance not in VARIANCES:
            raise UserError(f"variance is {variance!r}; it must be one of {', '.join(VARIANCES)}")
        return Chain(DDPM(levels, variance), order)
    raise UserError(f"sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
