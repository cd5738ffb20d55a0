"""A finetuned model as an ordinary diffusers pipeline, its timesteps in the scheduler config, and how it is sampled.

diffusers' DDIM and DDPM schedulers can express the timesteps 0, T // S, 2 (T // S) ... alone. Any other choice
tau_1 < ... < tau_S is exported *respaced* (Nichol & Dhariwal 2021, Section 4): the process of length S whose
alpha_bar_i is the original's at tau_i, and a network whose time embedding is a table of S rows, row i the original
embedding of tau_i (of an EDM or flow matching network: whose table of noise levels has S). It samples with
`num_inference_steps=S` like any other pipeline.

Multistep solvers are always exported respaced: the multistep DPM-Solver++ with diffusers' own scheduler, which then
has the same levels and ends without noise as the chain does, and which `DDPMPipeline` can run; the others, whose
schedulers no pipeline for images without conditions runs, or which don't go to no noise, and those that were learned,
with `TableScheduler`.

A network that has learned its variance is exported whole with DDPM's learned range; with DDIM, which has no use for
the variance, only the half of its output that is epsilon goes along.

A latent model is exported as an `LDMPipeline`, which takes any of these schedulers, with its autoencoder unchanged, and
a DiT as a `DiTPipeline`, respaced by `RespacedDiTTransformer2DModel`. `DiTPipeline` knows no eta and drops a learned
variance.
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
from mmd_ddm.diffusion.multistep.learned import LearnedChain
from mmd_ddm.diffusion.multistep.linear_multistep import LinearMultistep
from mmd_ddm.diffusion.names import LEARNED, is_flow_matching
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import ddpm_variance
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.network_classes import knows_sigma
from mmd_ddm.pretrained.record import RECORD

if TYPE_CHECKING:
    from diffusers import SchedulerMixin, UNet2DModel

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
    """
    from diffusers import DiTTransformer2DModel

    from mmd_ddm.pretrained.respaced_dit import RespacedDiTTransformer2DModel

    network: UNet2DModel = denoiser.network
    solver, times = chain.solver, tuple[float, ...](sorted(set(chain.timesteps)))
    if isinstance(chain, LearnedChain):
        with torch.no_grad():
            sampler, (solver, told) = LEARNED, chain.learned.stage()
        times, alpha_bar = tuple(told.flip(0).tolist()), solver.alpha_bar.flip(0)
    else:
        alpha_bar = _levels(chain, denoiser.schedule)
    is_special = isinstance(solver, LinearMultistep) or is_flow_matching(base_scheduler)
    kind, respaced = type(network), is_special or not is_leading(times, denoiser.schedule.length)
    common = _process(denoiser, base_scheduler, alpha_bar if respaced else None)
    changes: dict[str, object] = {}
    weights: dict[str, Tensor] = {}
    if respaced:
        changes["num_train_timesteps"] = len(times)
        told = torch.tensor(times, device=network.device)
        if knows_sigma(network):
            is_learned = isinstance(chain, LearnedChain)  # what is told may then differ from the level
            weights["sigmas"] = network.log_sigma(told).exp() if is_learned else _sigmas(alpha_bar, network)
        elif isinstance(network, DiTTransformer2DModel):
            kind = RespacedDiTTransformer2DModel
            weights["times"] = network.times_of(told) if isinstance(network, kind) else told
        else:
            changes["time_embedding_type"] = "learned"
            weights["time_proj.weight"] = network.time_proj(told).detach()
    channels = denoiser.image_shape[0]
    if sampler == "ddpm":
        variance = ddpm_variance(denoiser.schedule, variance)
    own = denoiser.schedule.variance_type
    if own == "learned_range" and (sampler != "ddpm" or variance != own):
        changes["out_channels"] = channels
        head = network.get_submodule("conv_out")
        weights |= {f"conv_out.{kind}": value[:channels] for kind, value in head.state_dict().items()}
    unet = _changed(network, kind, changes, weights) if changes else network
    scheduler = _scheduler(sampler, solver, common, variance)
    autoencoder = None if denoiser.decoder is None else denoiser.decoder.autoencoder
    pipeline = make_pipeline(unet, scheduler, autoencoder)
    how: dict[str, object] = {
        "sampler": sampler,
        "steps": chain.nfe,
        "eta": eta,
        "variance": variance,
        "timesteps": times,
    }
    if is_guided(chain.guidance_scale):
        how["guidance_scale"] = chain.guidance_scale
    return write_pipeline(pipeline, folder, {RECORD: {**how, **record}})


def _levels(chain: Chain, schedule: NoiseSchedule) -> Tensor:
    """The values of alpha_bar of a chain, decreasing."""
    if chain.levels is not None:
        return torch.tensor(sorted(set(chain.levels), reverse=True), dtype=torch.float64)
    return schedule.alpha_bar[sorted({int(t) for t in chain.timesteps})]


def _sigmas(alpha_bar: Tensor, network: UNet2DModel) -> Tensor:
    return ((1 - alpha_bar) / alpha_bar).sqrt().to(network.sigmas)


def is_leading(timesteps: tuple[float, ...], length: int) -> bool:
    """Whether diffusers' `leading` spacing gives just these timesteps, in increasing order."""
    ratio = length // len(timesteps)
    return timesteps == tuple(i * ratio for i in range(len(timesteps)))


def _scheduler(sampler: str, solver: Solver, common: Mapping[str, object], variance: str) -> SchedulerMixin:
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

    from mmd_ddm.pretrained.table_scheduler import TableScheduler

    if sampler == "ddim":
        return DDIMScheduler(**common, set_alpha_to_one=True)
    if sampler == "ddpm":
        return DDPMScheduler(**common, variance_type=variance)
    process = {key: common[key] for key in ("num_train_timesteps", "trained_betas", "prediction_type")}
    if sampler in _ORDERS:
        return DPMSolverMultistepScheduler(**process, solver_order=_ORDERS[sampler], timestep_spacing="trailing")
    assert isinstance(solver, LinearMultistep)
    # levels count from the noisiest, timesteps of the respaced process from the clean end
    top = len(solver.alpha_bar) - 1
    rows = [[top - row.level, *([[i, float(c)] for i, c in terms.items()] for terms in row[1:])] for row in solver.rows]
    return TableScheduler(**process, alpha_bar=solver.alpha_bar.flip(0).tolist(), rows=rows, predicts=solver.predicts)


def _process(denoiser: Denoiser, base: Mapping[str, object], respaced: Tensor | None) -> dict[str, object]:
    """The config of the original process, or of the one that has some values of alpha_bar, decreasing, alone."""
    fixed = {
        "prediction_type": denoiser.schedule.prediction_type,
        "clip_sample": False,  # the chain that was finetuned does not clip
        "timestep_spacing": "leading",
        "steps_offset": 0,
    }
    if respaced is None:
        process = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas")
        return {**{key: base[key] for key in process if base.get(key) is not None}, **fixed}
    betas = 1 - respaced / torch.cat([respaced.new_ones(1), respaced[:-1]])
    return {"num_train_timesteps": len(respaced), "trained_betas": betas.tolist(), **fixed}


def _changed(
    network: UNet2DModel, kind: type[UNet2DModel], changes: Mapping[str, object], weights: Mapping[str, Tensor]
) -> UNet2DModel:
    """A network of a class with another config, and other weights where that needs them; the rest is shared."""
    # not `from_config`: it drops a change of what the config had left out, which a private entry lists
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    with torch.device("meta"):
        changed = kind(**{**config, **changes})
    replaced = {name: value.to(network.dtype) for name, value in weights.items()}
    changed.load_state_dict({**network.state_dict(), **replaced}, assign=True)
    if hasattr(network, "pos_embed"):
        changed.pos_embed = network.pos_embed  # has numbers that are neither weights nor in the config
    return changed.eval()
