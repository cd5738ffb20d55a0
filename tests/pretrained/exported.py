"""An exported model of 3 x 8 x 8 pixels, and two of its images from one noise: ours, and those of diffusers alone."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.export import save_pipeline

SEED = 5


def export(denoiser: Denoiser, chain: Chain, sampler: str, base: Path, folder: Path) -> Path:
    return save_pipeline(
        denoiser, scheduler_config(base), folder,
        sampler=sampler, chain=chain, eta=0.0, variance="model", record={},
    )  # fmt: skip


def images_of(denoiser: Denoiser, chain: Chain, labels: list[int] | None = None) -> Tensor:
    """In [0, 1], channels last."""
    noise = torch.randn((1, 2, 3, 8, 8), generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        made = chain.sample(denoiser, noise, None if labels is None else torch.tensor(labels))
    return (made / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


def images_by_diffusers(folder: Path, steps: int, labels: list[int] | None = None) -> Tensor:
    """The same by a pipeline whose network's code lies in the folder."""
    pipeline = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
    assert type(pipeline.unet).__module__.startswith("diffusers_modules")
    pipeline.set_progress_bar_config(disable=True)
    wanted = {"batch_size": 2} if labels is None else {"class_labels": labels}
    generator = torch.Generator().manual_seed(SEED)
    return torch.from_numpy(pipeline(generator=generator, num_inference_steps=steps, output_type="np", **wanted).images)
