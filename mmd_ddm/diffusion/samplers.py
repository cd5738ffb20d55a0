"""From a sampler's name and budget to a chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.budgets import levels_of, unguided
from mmd_ddm.diffusion.chain import Chain, Solver
from mmd_ddm.diffusion.continuous_time import time_of
from mmd_ddm.diffusion.ddim import DDIM
from mmd_ddm.diffusion.ddpm import DDPM
from mmd_ddm.diffusion.karras import karras
from mmd_ddm.diffusion.multistep.learned import LearnedChain, LearnedSampler
from mmd_ddm.diffusion.multistep.linear_multistep import LinearMultistep
from mmd_ddm.diffusion.multistep.methods import LEARNABLE, METHODS
from mmd_ddm.diffusion.multistep.terms import EPSILON, ONE, SAMPLE, Row
from mmd_ddm.diffusion.names import LEARNED, SAMPLERS, VARIANCES
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.timesteps import KARRAS, check_budget, default_schedule, timesteps
from mmd_ddm.errors import UserError


def make_chain(
    noise_schedule: NoiseSchedule,
    *,
    sampler: str = "ddim",
    steps: int = 5,
    schedule: str | None = None,
    eta: float = 0.0,
    variance: str = "model",
    guidance_scale: float | None = None,
) -> Chain:
    """Build the chain of one of `SAMPLERS` with a budget of S network evaluations (for `stride` at least S).

    Args:
        noise_schedule: of the model.
        sampler: its name.
        steps: S, 1 to T; odd for a sampler that evaluates all timesteps but the first twice, which has (S+1)/2.
        schedule: of the timesteps, one of `SCHEDULES`; none: `default_schedule`.
        eta: DDIM's noise, 0 to 1.
        variance: DDPM's, one of `VARIANCES`; `model` is what its scheduler config says.
        guidance_scale: w of `Denoiser.predict`; if it is neither none nor 1, S is even, for S/2 predictions.

    Raises:
        UserError: a name or number outside what is allowed, or a variance that the model does not have.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
    made = _unguided_chain(noise_schedule, sampler, unguided(steps, guidance_scale), schedule, eta, variance)
    return replace(made, guidance_scale=guidance_scale)


def _unguided_chain(
    noise_schedule: NoiseSchedule, sampler: str, steps: int, schedule: str | None, eta: float, variance: str
) -> Chain:
    if sampler == LEARNED:
        return _chain_beside(noise_schedule, steps)
    points = _points(noise_schedule, sampler, steps, schedule)
    levels = tuple(points.alpha_bar.tolist())
    if sampler == "ddim":
        return points.chain(DDIM(levels, eta))
    if sampler == "ddpm":
        return points.chain(DDPM(levels, ddpm_variance(noise_schedule, variance)))
    solver = METHODS[sampler].solver(points.alpha_bar)
    return points.chain(solver, [row.level for row in solver.rows])


class _Points(NamedTuple):
    """The L noise levels of a chain, from the noisiest on: their times and (L,) alpha_bar."""

    times: tuple[float, ...]
    alpha_bar: Tensor
    whole: bool  # whether the times are

    def chain(self, solver: Solver, order: Sequence[int] | None = None) -> Chain:
        """Make the chain that evaluates levels in some order; none: each once."""
        order = range(len(self.times)) if order is None else order
        levels = None if self.whole else tuple(self.alpha_bar[list(order)].tolist())
        return Chain(solver, tuple(self.times[i] for i in order), levels=levels)


def _points(noise_schedule: NoiseSchedule, sampler: str, steps: int, schedule: str | None) -> _Points:
    count, process = levels_of(sampler, steps), noise_schedule.alpha_bar.cpu()
    schedule = schedule or default_schedule(count)
    if schedule != KARRAS:
        order = timesteps(schedule, count, process.tolist())[::-1]
        return _Points(order, process[list(order)], whole=True)
    check_budget(schedule, count, len(process))
    alpha_bar = karras(count, process)
    return _Points(tuple(time_of(torch.logit(alpha_bar) / 2, process).tolist()), alpha_bar, whole=False)


def _chain_beside(noise_schedule: NoiseSchedule, steps: int) -> Chain:
    """The chain of the sampler that lies beside a model: its coefficients at all levels of the model's process."""
    if (table := noise_schedule.table) is None:
        raise UserError(
            f"sampler {LEARNED} is one that was finetuned with a model, which this model has not; name another"
        )
    if steps != (made := len(table.rows)):
        raise UserError(
            f"the sampler that was finetuned with this model makes {made} network evaluations; choose {made}"
        )
    alpha_bar = noise_schedule.alpha_bar.cpu().flip(0)
    rows = tuple(
        Row(len(alpha_bar) - 1 - t, *({i: c * ONE for i, c in pairs} for pairs in both)) for t, *both in table.rows
    )
    predicts = SAMPLE if table.predicts == SAMPLE else EPSILON
    return Chain(LinearMultistep(rows, alpha_bar, predicts), tuple(t for t, _, _ in table.rows))


def make_learned_chain(
    noise_schedule: NoiseSchedule,
    *,
    sampler: str,
    steps: int,
    schedule: str,
    eta: float,
    variance: str,
    guidance_scale: float | None = None,
) -> LearnedChain:
    """Build a chain whose sampler can be learned, as `make_chain` builds the one that it begins as.

    Raises:
        UserError: as `make_chain`, or a sampler that is no table of coefficients: one with noise.
    """
    if sampler not in LEARNABLE or eta:
        said = f"sampler {sampler} with eta {eta:g}" if eta else f"sampler {sampler}"
        raise UserError(f"{said} draws noise and can't be learned; choose from {', '.join(LEARNABLE)}, without eta")
    plain = make_chain(
        noise_schedule,
        sampler=sampler,
        steps=steps,
        schedule=schedule,
        eta=eta,
        variance=variance,
        guidance_scale=guidance_scale,
    )
    levels = _points(noise_schedule, sampler, unguided(steps, guidance_scale), schedule).alpha_bar
    learned = LearnedSampler(LEARNABLE[sampler], noise_schedule.alpha_bar, levels)
    return LearnedChain(plain.solver, plain.timesteps, learned, guidance_scale=guidance_scale)


def ddpm_variance(noise_schedule: NoiseSchedule, variance: str) -> str:
    """The variance of DDPM (`fixed_small`, `fixed_large`, `learned_range`) that one of `VARIANCES` means for a model.

    Raises:
        UserError: an unknown name, `model` where the scheduler config names none that is known, or `learned_range`
            for a model that has not learned it.
    """
    if variance not in VARIANCES:
        raise UserError(f"variance is {variance!r}; it must be one of {', '.join(VARIANCES)}")
    own = noise_schedule.variance_type
    if variance == "model":
        if own is None or own not in VARIANCES[1:]:
            said = "nothing about variance_type" if own is None else f"variance_type {own!r}, which is not supported"
            raise UserError(f"the model's scheduler config says {said}; choose variance fixed_small or fixed_large")
        return own
    if variance == "learned_range" and own != "learned_range":
        raise UserError(
            f"variance is 'learned_range', but the model has not learned it (its variance_type is {own}); "
            "choose fixed_small or fixed_large"
        )
    return variance
