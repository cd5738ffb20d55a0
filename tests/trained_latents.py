"""Small latent diffusion models of digits, trained from nothing: `python -m tests.trained_latents dit|ldm DIR`.

An autoencoder to 2 x 4 x 4 numbers, and a DiT or a U-Net of these, by the project's own training loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel, UNet2DModel
from torch import Tensor, nn

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.prediction_loss import noise_loss
from mmd_ddm.training import Optimization, train

CHANNELS, SIDE, BATCH = 2, 4, 128  # of the latents; images of an update
NULL, UNLABELLED = 1000, 0.1  # DiTPipeline's label for none, and the share of images that are shown with it
RECONSTRUCTION, PRIOR = 10.0, 2e-3  # weights of squared error and divergence, each the mean over numbers


def train_dit(folder: Path, updates: int = 5000, autoencoder_updates: int = 1500) -> Path:
    """Train a class-conditional DiT of 0.7 million weights and save it as a `DiTPipeline` that can be guided.

    Labels are left out here and the network stays in eval mode: in training mode each of its blocks would leave out
    others, so that it would hardly ever see an image without any.
    """
    images, labels = _digits()
    vae = _autoencoder(images, autoencoder_updates)
    transformer = DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=4,
        sample_size=SIDE, patch_size=2, norm_num_groups=2,
    ).eval()  # fmt: skip
    scheduler = DDIMScheduler(clip_sample=False)

    def dropped(labels: Tensor) -> Tensor:
        return torch.where(torch.rand(len(labels)) < UNLABELLED, NULL, labels)

    _train_on_latents(transformer, vae, images, lambda chosen: dropped(labels[chosen]), scheduler, updates)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    id2label = {str(label): name for label, name in enumerate(names)}
    return write_pipeline(make_pipeline(transformer, scheduler, vae, id2label), folder, {})


def train_ldm(folder: Path, updates: int = 3000, autoencoder_updates: int = 1500) -> Path:
    """Train an unconditional U-Net of 0.7 million weights and save it as an `LDMPipeline`."""
    images, _ = _digits()
    vae = _autoencoder(images, autoencoder_updates)
    unet = UNet2DModel(
        sample_size=SIDE, in_channels=CHANNELS, out_channels=CHANNELS, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("AttnDownBlock2D",) * 2, up_block_types=("AttnUpBlock2D",) * 2, norm_num_groups=8,
        attention_head_dim=16,
    ).eval()  # fmt: skip
    scheduler = DDIMScheduler(1000, 0.0015, 0.0195, "scaled_linear", clip_sample=False)
    _train_on_latents(unet, vae, images, lambda chosen: None, scheduler, updates)
    return write_pipeline(make_pipeline(unet, scheduler, vae), folder, {})


def _digits() -> tuple[Tensor, Tensor]:
    digits = load_dataset(dataset_spec("digits"))
    assert digits.labels is not None
    return digits.floats(), digits.labels


def _autoencoder(images: Tensor, updates: int) -> AutoencoderKL:
    vae = AutoencoderKL(
        in_channels=1, out_channels=1, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=CHANNELS, sample_size=2 * SIDE,
    )  # fmt: skip

    def loss() -> Tensor:
        batch = images[torch.randint(len(images), (BATCH // 2,))]
        posterior = vae.encode(batch).latent_dist
        error = nn.functional.mse_loss(vae.decode(posterior.sample()).sample, batch)
        return RECONSTRUCTION * error + PRIOR * posterior.kl().mean() / (CHANNELS * SIDE**2)

    train(vae, loss, Optimization(updates, 2e-3, 0.995, warmup=100, clip=1.0), stage="autoencoder")
    vae.eval().requires_grad_(False)
    vae.register_to_config(scaling_factor=1 / _encode(vae, images)[0].std().item())
    return vae


@torch.no_grad()
def _encode(vae: AutoencoderKL, images: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of the images' latents."""
    posterior = vae.encode(images).latent_dist
    return posterior.mean, posterior.std


def _train_on_latents(
    network: nn.Module,
    vae: AutoencoderKL,
    images: Tensor,
    labels: Callable[[Tensor], Tensor | None],
    scheduler: DDIMScheduler,
    updates: int,
) -> None:
    means, deviations = _encode(vae, images)

    def loss() -> Tensor:
        chosen = torch.randint(len(images), (BATCH,))
        latents = means[chosen] + deviations[chosen] * torch.randn_like(means[chosen])
        scaled = latents * vae.config.scaling_factor
        return noise_loss(network, scaled, scheduler.alphas_cumprod, labels=labels(chosen))

    train(network, loss, Optimization(updates, 1e-3, 0.999, warmup=200, clip=1.0), stage="latents")


if __name__ == "__main__":
    torch.manual_seed(0)
    {"dit": train_dit, "ldm": train_ldm}[sys.argv[1]](Path(sys.argv[2]))
