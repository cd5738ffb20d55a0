"""A finetuned model as an ordinary diffusers pipeline, its timesteps in the scheduler config, and how it is sampled.

diffusers' DDIM and DDPM schedulers can express the timesteps 0, T // S, 2 (T // S) ... alone. Any other choice
tau_1 < ... < tau_S is exported *respaced* (Nichol & Dhariwal 2021, Section 4): the process of length S whose
alpha_bar_i is the original's at tau_i, and a network that is told tau_i at step i (`respacing`). It samples with
`num_inference_steps=S` like any other pipeline.

Multistep solvers are always exported respaced: the multistep DPM-Solver++ with diffusers' own scheduler, which then
has the same levels and ends without noise as the chain does, and which `DDPMPipeline` can run; the others, whose
schedulers no pipeline for images without conditions runs, or which don't go to no noise, and those that were learned,
with `TableScheduler`.

A network that has learned its variance is exported whole with DDPM's learned range; with DDIM, which has no use for
the variance, only the half of its output that is epsilon goes along.

A latent model is exported as an `LDMPipeline`, or with classes a `ClassConditionalPipeline`, which take any of these
schedulers, with its autoencoder unchanged, and a DiT as a `DiTPipeline`, respaced by `RespacedDiTTransformer2DModel`.
`DiTPipeline` knows no eta and drops a learned variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmd_ddm.diffusion.budgets import is_guided
from mmd_ddm.diffusion.chain import Chain, Solver
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.multistep.linear_multistep import LinearMultistep
from mmd_ddm.diffusion.names import LEARNED, is_flow_matching
from mmd_ddm.diffusion.samplers import ddpm_variance
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.record import RECORD
from mmd_ddm.pretrained.respacing import is_leading, levels_of, respaced, without_variance

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

_ORDERS: Mapping[str, int] = {"dpm-solver++-2m": 2, "dpm-solver++-3m": 3}  # of diffusers' own scheduler


def save_pipeline(
    denoiser: Denoiser,
    base_scheduler: Mapping[str, object],
    folder: Path,
    *,
    sampler: str,
    chain: Chain,
    eta: float,
    variance: str,
    record: Mapping[str, object],
    id2label: Mapping[str, str] | None = None,
) -> Path:
    """Write a pipeline folder, complete or not at all.

    Args:
        denoiser: with the weights to export.
        base_scheduler: scheduler config of the base model.
        folder: its final name; replaced if it exists.
        sampler: one of `SAMPLERS`: the class of pipeline and scheduler.
        chain: of that sampler, as it was finetuned; if it was learned, the record names `learned`.
        eta: of DDIM, for the record: a call's argument in diffusers.
        variance: of DDPM, as `make_chain` has it.
        record: what else to keep in `mmd_ddm.json`.
        id2label: of a DiT, the names of its classes.
    """
    network, levels = denoiser.network, levels_of(chain, denoiser.schedule)
    if levels.is_learned:
        sampler = LEARNED
    if sampler == "ddpm":
        variance = ddpm_variance(denoiser.schedule, variance)
    is_special = isinstance(levels.solver, LinearMultistep) or is_flow_matching(base_scheduler)
    if is_special or not is_leading(levels.times, denoiser.schedule.length):
        network, process = respaced(network, levels), _respaced_process(levels.alpha_bar)
    else:
        process = _whole_process(base_scheduler)
    own = denoiser.schedule.variance_type
    if own == "learned_range" and (sampler != "ddpm" or variance != own):
        network = without_variance(network, denoiser.image_shape[0])
    scheduler = _scheduler(sampler, levels.solver, process, denoiser.schedule.prediction_type, variance)
    autoencoder = None if denoiser.decoder is None else denoiser.decoder.autoencoder
    pipeline = make_pipeline(network, scheduler, autoencoder, id2label)
    how: dict[str, object] = {
        "sampler": sampler,
        "steps": chain.nfe,
        "eta": eta,
        "variance": variance,
        "timesteps": levels.times,
    }
    if is_guided(chain.guidance_scale):
        how["guidance_scale"] = chain.guidance_scale
    return write_pipeline(pipeline, folder, {RECORD: {**how, **record}})


def _whole_process(base: Mapping[str, object]) -> dict[str, object]:
    """The part of a scheduler's config that says what the base model's process is."""
    process = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas")
    return {key: base[key] for key in process if base.get(key) is not None}


def _respaced_process(alpha_bar: Tensor) -> dict[str, object]:
    """The same of the process that has some values of alpha_bar, decreasing, alone."""
    betas = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return {"num_train_timesteps": len(alpha_bar), "trained_betas": betas.tolist()}


def _scheduler(
    sampler: str, solver: Solver, process: Mapping[str, object], prediction_type: str, variance: str
) -> SchedulerMixin:
    """The scheduler of diffusers, or ours, with which a pipeline takes the chain's steps."""
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    from mmd_ddm.pretrained.table_scheduler import TableScheduler

    common = {**process, "prediction_type": prediction_type}
    # the chain that was finetuned does not clip
    first = {**common, "clip_sample": False, "timestep_spacing": "leading", "steps_offset": 0}
    if sampler == "ddim":
        return DDIMScheduler(**first, set_alpha_to_one=True)
    if sampler == "ddpm":
        return DDPMScheduler(**first, variance_type=variance)
    if sampler in _ORDERS:
        return DPMSolverMultistepScheduler(**common, solver_order=_ORDERS[sampler], timestep_spacing="trailing")
    assert isinstance(solver, LinearMultistep)
    # levels count from the noisiest, timesteps of the respaced process from the clean end
    top = len(solver.alpha_bar) - 1
    rows = [[top - row.level, *([[i, float(c)] for i, c in terms.items()] for terms in row[1:])] for row in solver.rows]
    return TableScheduler(**common, alpha_bar=solver.alpha_bar.flip(0).tolist(), rows=rows, predicts=solver.predicts)
