"""The samplers of diffusers that others are compared with, each with the settings and timesteps its users run.

Where a publication leaves a choice, or its authors and diffusers differ, the table `PUBLISHED` says what was chosen.
Every sampler runs on whole timesteps, since networks trained in discrete time, some with a table of time embeddings,
know no others; and none clips x_0, as finetuned chains do not either.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.timesteps import NOISIEST, even_in_log_snr, trailing


class Stepped(Protocol):
    """What a scheduler of diffusers makes of a step."""

    prev_sample: Tensor


class Scheduler(Protocol):
    """The part of diffusers' schedulers that a rollout needs."""

    timesteps: Tensor
    init_noise_sigma: float | Tensor

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """What the network is given of a noisy image."""

    def step(self, model_output: Tensor, timestep: Tensor, sample: Tensor, **settings: float | Tensor) -> Stepped:
        """One step down; the scheduler remembers what it needs for the next."""


@dataclass(frozen=True)
class PublishedSampler:
    """How a sampler is run."""

    scheduler: str  # its class in diffusers
    settings: Callable[[int], Mapping[str, object]]  # of the scheduler, given the number of steps
    per_step: int = 1  # network evaluations of a step
    extra: int = 0  # evaluations on top of that: n steps cost `per_step * n + extra`
    fewest: int = 1  # steps with which it works
    ends: int = 0  # how many timesteps of its grid are not evaluated; T timesteps hold T - ends steps
    # timesteps in decreasing order, given alpha_bar and the number of steps; none: the scheduler's own
    spacing: Callable[[Tensor, int], list[int]] | None = None
    whole: bool = False  # whether it runs on the whole process; otherwise it starts no noisier than `NOISIEST`
    stochastic: bool = False  # whether each step but the last is given noise

    def budgets(self, noise_schedule: NoiseSchedule) -> range:
        """The numbers of network evaluations that it can make with a model."""
        most = len(self._alpha_bar(noise_schedule)) - self.ends
        first, last = (self.per_step * steps + self.extra for steps in (self.fewest, most))
        return range(first, last + 1, self.per_step)

    def start(self, noise_schedule: NoiseSchedule, steps: int) -> Scheduler:
        """A scheduler of diffusers, of the model's own process, before its first step; good for one rollout."""
        import diffusers

        alpha_bar = self._alpha_bar(noise_schedule)
        betas = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
        with quiet():
            scheduler = getattr(diffusers, self.scheduler)(
                num_train_timesteps=len(alpha_bar),
                trained_betas=betas.tolist(),
                prediction_type="epsilon",  # what `Denoiser` gives, whatever the network predicts
                **self.settings(steps),
            )
            if self.spacing is None:
                scheduler.set_timesteps(steps)
            else:
                scheduler.set_timesteps(timesteps=self.spacing(alpha_bar, steps))
        started: Scheduler = scheduler
        return started

    def _alpha_bar(self, noise_schedule: NoiseSchedule) -> Tensor:
        alpha_bar = noise_schedule.alpha_bar.cpu()
        return alpha_bar if self.whole else alpha_bar[torch.logit(alpha_bar) / 2 >= NOISIEST]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings in which diffusers' schedulers speak to their own developers."""
    with warnings.catch_warnings():
        # the noise-predicting DPM-Solver is deprecated there in favour of DPM-Solver++, but published
        warnings.filterwarnings("ignore", ".*algorithm_type `?dpmsolver", FutureWarning)
        warnings.filterwarnings("ignore", "__array_", DeprecationWarning)  # NumPy 2 applied to tensors
        yield


def even_in_time(alpha_bar: Tensor, steps: int) -> list[int]:
    """See `timesteps.trailing`."""
    return trailing(steps, len(alpha_bar))


def log_snr(alpha_bar: Tensor, steps: int) -> list[int]:
    """See `timesteps.even_in_log_snr`."""
    return even_in_log_snr(steps, torch.logit(alpha_bar).tolist())


def _always(**settings: object) -> Callable[[int], Mapping[str, object]]:
    return lambda steps: settings


def _second_order(steps: int) -> dict[str, object]:
    # an odd evaluation over is a step of first order at the end, as published; an even number has none
    return {**_NOISE_PREDICTION, "solver_order": 2, "lower_order_final": steps % 2 == 1}


def _unified(steps: int) -> dict[str, object]:
    # diffusers' advice for unconditional models: B(h) = h below ten steps, e^h - 1 from there on (the signs apart);
    # with the former no step can go to zero noise, where h is infinite
    return {"solver_order": 3, "solver_type": "bh1" if steps < 10 else "bh2", "final_sigmas_type": "sigma_min"}


# epsilon is integrated, which ends at the least noise that the network knows
_NOISE_PREDICTION = {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}

PUBLISHED: Mapping[str, PublishedSampler] = {
    # Ho et al. 2020 with the posterior variance, far the better of their two at few steps (Song et al. 2021, Table 1):
    # DDIM with eta = 1. Leading spacing, of DDIM's authors and diffusers: multiples of floor(T/S).
    "ddpm": PublishedSampler("DDIMScheduler", _always(clip_sample=False), whole=True, stochastic=True),
    # Song et al. 2021, eta = 0; leading.
    "ddim": PublishedSampler("DDIMScheduler", _always(clip_sample=False), whole=True),
    # Liu et al. 2022, F-PNDM: three pseudo Runge-Kutta steps of four evaluations, then linear multistep; leading. It
    # ends at alpha_bar = 1 as DDIM does: at diffusers' default, timestep 0, its last evaluation would move nothing.
    "pndm": PublishedSampler("PNDMScheduler", _always(set_alpha_to_one=True), extra=9, fewest=4, whole=True),
    # The same without Runge-Kutta, as Stable Diffusion runs it: the second timestep is evaluated twice.
    "plms": PublishedSampler(
        "PNDMScheduler", _always(set_alpha_to_one=True, skip_prk_steps=True), extra=1, fewest=2, whole=True
    ),
    # Lu et al. 2022, singlestep, ending at timestep 0. Order 1 is DDIM's formula; its grid, even in t (diffusers' own),
    # begins at T-1. Even in log-SNR, the authors' other choice, its KID on the digits is larger at 5, 10 and 20 alike.
    "dpm-solver-1": PublishedSampler(
        "DPMSolverSinglestepScheduler", _always(**_NOISE_PREDICTION, solver_order=1), ends=1
    ),
    # Two grids, since the authors' code recommends log-SNR for small images and even t for large ones, and on the small
    # digits neither wins at every budget: with even t the KID is less at 5 evaluations, with log-SNR at 10.
    "dpm-solver-2": PublishedSampler("DPMSolverSinglestepScheduler", _second_order, ends=1),
    "dpm-solver-2-logsnr": PublishedSampler("DPMSolverSinglestepScheduler", _second_order, ends=1, spacing=log_snr),
    # Lu et al. 2022 (DPM-Solver++), 2M, diffusers' defaults, with both grids: on the digits the first is nearer in one
    # feature space and the second in the other. The last step goes to zero noise.
    "dpm-solver++": PublishedSampler("DPMSolverMultistepScheduler", _always(), ends=1),
    "dpm-solver++-logsnr": PublishedSampler("DPMSolverMultistepScheduler", _always(), ends=1, spacing=log_snr),
    # Zhao et al. 2023, UniPC-3, the order that diffusers recommends for unconditional models; even in t.
    "unipc": PublishedSampler("UniPCMultistepScheduler", _unified, ends=1),
    # Zhang & Chen 2023, log-rho multistep of order 3, recommended for unconditional models; even in t. Its coefficients
    # are differences in float32, which is too few digits for hundreds of steps.
    "deis": PublishedSampler("DEISMultistepScheduler", _always(solver_order=3), ends=1),
    # Karras et al. 2022, Algorithm 1: two evaluations a step, one in the last, which goes to zero noise. Trailing: with
    # diffusers' default (even from T-1 to 0), steps even in sigma^(1/7) as published, or steps even in log-SNR, the KID
    # on the digits is 1.6 to 35 times as large at 5 and 9 evaluations.
    "heun": PublishedSampler("HeunDiscreteScheduler", _always(), per_step=2, extra=-1, spacing=even_in_time),
}
