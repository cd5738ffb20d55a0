"""A finetuned model as an ordinary diffusers pipeline, its timesteps in the scheduler config.

diffusers' DDIM and DDPM schedulers can express the timesteps 0, T // S, 2 (T // S) ... alone. Any other choice
tau_1 < ... < tau_S is exported *respaced* (Nichol & Dhariwal 2021, Section 4): the process of length S whose
alpha_bar_i is the original's at tau_i, and a network whose time embedding is a table of S rows, row i the original
sinusoidal embedding of tau_i. It samples with `num_inference_steps=S` like any other pipeline.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmd_ddm.diffusion.denoiser import Denoiser

RECORD = "mmd_ddm.json"


def save_pipeline(
    denoiser: Denoiser,
    base_scheduler: dict[str, Any],
    folder: Path,
    *,
    sampler: str,
    timesteps: tuple[int, ...],
    eta: float,
    variance: str,
    record: dict[str, Any],
) -> Path:
    """Write a pipeline folder, complete or not at all.

    Args:
        denoiser: with the weights to export.
        base_scheduler: scheduler config of the base model.
        folder: its final name; replaced if it exists.
        sampler: `ddim` or `ddpm`: the class of pipeline and scheduler.
        timesteps: S of the T timesteps, in any order.
        eta: of DDIM, for the record: a call's argument in diffusers.
        variance: of DDPM.
        record: what else to keep in `mmd_ddm.json`, readable as JSON.
    """
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler

    ordered = tuple(sorted(timesteps))
    common = _process(denoiser, base_scheduler, ordered)
    network = denoiser.network if common["num_train_timesteps"] == denoiser.schedule.length else None
    unet = network if network is not None else _respaced(denoiser.network, ordered)
    if sampler == "ddim":
        scheduler = DDIMScheduler(**common, set_alpha_to_one=True)
        pipeline = DDIMPipeline(unet, scheduler)
    else:
        pipeline = DDPMPipeline(unet, DDPMScheduler(**common, variance_type=variance))
    how = {"sampler": sampler, "steps": len(ordered), "eta": eta, "variance": variance, "timesteps": ordered}

    half = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(half, ignore_errors=True)
    pipeline.save_pretrained(half)
    (half / RECORD).write_text(json.dumps({**how, **record}, indent=1))
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
    return folder


def is_leading(timesteps: tuple[int, ...], length: int) -> bool:
    """Whether diffusers' `leading` spacing gives just these timesteps, in increasing order."""
    ratio = length // len(timesteps)
    return timesteps == tuple(i * ratio for i in range(len(timesteps)))


def _process(denoiser: Denoiser, base: dict[str, Any], timesteps: tuple[int, ...]) -> dict[str, Any]:
    fixed = {
        "prediction_type": denoiser.schedule.prediction_type,
        "clip_sample": False,  # the chain that was finetuned does not clip
        "timestep_spacing": "leading",
        "steps_offset": 0,
    }
    if is_leading(timesteps, denoiser.schedule.length):
        process = ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas")
        return {**{key: base[key] for key in process if base.get(key) is not None}, **fixed}
    alpha_bar = denoiser.schedule.alpha_bar[list(timesteps)]
    betas = 1 - alpha_bar / torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    return {"num_train_timesteps": len(timesteps), "trained_betas": betas.tolist(), **fixed}


def _respaced(network: Any, timesteps: tuple[int, ...]) -> Any:
    """The same function with its time embedding replaced by a table over the chosen timesteps."""
    from diffusers import UNet2DModel

    config = {**network.config, "time_embedding_type": "learned", "num_train_timesteps": len(timesteps)}
    weight = next(network.parameters())
    respaced = UNet2DModel.from_config(config).to(weight.device, weight.dtype).eval()
    table: Tensor = network.time_proj(torch.tensor(timesteps, device=weight.device))
    respaced.load_state_dict({**network.state_dict(), "time_proj.weight": table.detach().to(weight.dtype)})
    return respaced
