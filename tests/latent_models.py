"""Tiny latent diffusion models of 8 x 8 grey images, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    LDMPipeline,
    UNet2DModel,
    VQModel,
)

CHANNELS, SIDE = 2, 4  # of the latents
IMAGE = (1, 2 * SIDE, 2 * SIDE)
AUTOENCODERS = KL, VQ = ("AutoencoderKL", "VQModel")


def autoencoder(kind: str) -> AutoencoderKL | VQModel:
    """One level of halving; both classes' parts, a codebook of 24 vectors that are as large as the latents."""
    common = {
        "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 8), "layers_per_block": 1,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4, "latent_channels": CHANNELS, "sample_size": IMAGE[1], "scaling_factor": 0.7,
    }  # fmt: skip
    if kind == KL:
        return AutoencoderKL(**common).eval()
    model = VQModel(**common, num_vq_embeddings=24).eval()
    torch.nn.init.normal_(model.quantize.embedding.weight)
    return model


def latent_unet(**changes: object) -> UNet2DModel:
    """A U-Net of the latents."""
    config = {
        "sample_size": SIDE, "in_channels": CHANNELS, "out_channels": CHANNELS, "block_out_channels": (8, 16),
        "layers_per_block": 1, "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DModel(**{**config, **changes}).eval()


def latent_folder(folder: Path, kind: str, **unet: object) -> Path:
    """Save a pipeline as diffusers does, its process that of Rombach et al. 2022."""
    scheduler = DDIMScheduler(1000, 0.0015, 0.0195, "scaled_linear", clip_sample=False)
    LDMPipeline(autoencoder(kind), latent_unet(**unet), scheduler).save_pretrained(folder)
    return folder


def dit_folder(folder: Path, classes: int = 1000, **changes: object) -> Path:
    """Save a DiT of the latents as diffusers does, with a learned variance that no pipeline makes use of."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=CHANNELS, out_channels=2 * CHANNELS, num_layers=2,
        sample_size=SIDE, patch_size=2, num_embeds_ada_norm=classes, norm_num_groups=2, **changes,
    ).eval()  # fmt: skip
    scheduler = DDIMScheduler(clip_sample=False)
    DiTPipeline(transformer, autoencoder(KL), scheduler).save_pretrained(folder)
    return folder
