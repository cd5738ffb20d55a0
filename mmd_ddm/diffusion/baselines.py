"""Other samplers at an exact number of network evaluations, to compare finetuned models with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmd_ddm.diffusion.budgets import is_guided, unguided
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.names import BASELINES, SAMPLERS
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.published_samplers import PUBLISHED, PublishedSampler, quiet
from mmd_ddm.errors import UserError


@dataclass(frozen=True)
class Baseline:
    """A published sampler with its budget; what `Chain` is to whoever only samples."""

    sampler: PublishedSampler
    noise_schedule: NoiseSchedule
    steps: int  # of the sampler, each of one or more evaluations
    timesteps: tuple[int, ...]  # of the network evaluations, in their order; some samplers evaluate one more than once
    guidance_scale: float | None = None  # w of `Denoiser.predict`

    @property
    def nfe(self) -> int:
        """S, the network evaluations of an image: one a prediction, two with guidance."""
        return len(self.timesteps) * (2 if is_guided(self.guidance_scale) else 1)

    @property
    def draws(self) -> int:
        """How many standard normal images one sample needs: the initial one, and one a noisy step."""
        return len(self.timesteps) if self.sampler.stochastic else 1

    @torch.no_grad()
    def sample(
        self, denoiser: Denoiser, noise: Float[Tensor, "draws N c h w"], labels: Int[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N C H W"]:
        """Generate images as `Chain.sample` does; no random number comes from elsewhere, and no gradient is kept."""
        scheduler = self.sampler.start(self.noise_schedule, self.steps)
        image = noise[0] * scheduler.init_noise_sigma
        for k, timestep in enumerate(scheduler.timesteps):
            seen = scheduler.scale_model_input(image, timestep)
            epsilon = denoiser(seen, self.timesteps[k], labels, self.guidance_scale)
            with quiet():
                image = scheduler.step(epsilon, timestep, image, **self._noise(noise, k)).prev_sample
        return denoiser.decode(image)

    def _noise(self, noise: Tensor, k: int) -> dict[str, float | Tensor]:
        if not self.sampler.stochastic:
            return {}
        # after the last step the variance is zero, but diffusers would draw
        return {"eta": 1.0, "variance_noise": noise[k + 1] if k + 1 < len(noise) else torch.zeros_like(noise[0])}


def make_baseline(
    name: str, noise_schedule: NoiseSchedule, evaluations: int, guidance_scale: float | None = None
) -> Baseline:
    """Build one of `BASELINES` with a budget of exactly S network evaluations, as `make_chain` counts them.

    Raises:
        UserError: an unknown name, or a budget that the sampler cannot have, with the nearest that it can.
    """
    if name not in PUBLISHED:
        raise UserError(f"sampler is {name!r}; it must be one of {', '.join(dict.fromkeys((*BASELINES, *SAMPLERS)))}")
    sampler = PUBLISHED[name]
    possible = sampler.budgets(noise_schedule)
    wanted, each = unguided(evaluations, guidance_scale), 2 if is_guided(guidance_scale) else 1
    if wanted not in possible:
        below = [str(each * budget) for budget in possible if budget < wanted]
        above = [str(each * budget) for budget in possible if budget > wanted]
        nearest = " or ".join(below[-1:] + above[:1])
        raise UserError(
            f"sampler {name} cannot make exactly {evaluations} network evaluations of this model; choose {nearest}"
        )
    steps = (wanted - sampler.extra) // sampler.per_step
    timesteps = tuple(int(t) for t in sampler.start(noise_schedule, steps).timesteps)
    return Baseline(sampler, noise_schedule, steps, timesteps, guidance_scale)
