"""From the folder of a base model to a denoiser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmd_ddm.diffusion.decoder import ImageDecoder
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.names import is_flow_matching
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.precision import FP32
from mmd_ddm.pretrained.autoencoder import load_decoder
from mmd_ddm.pretrained.autoencoder_config import latent_channels
from mmd_ddm.pretrained.configs import OF_DIT, classes_of, network_part, null_class_of, scheduler_config, unet_config
from mmd_ddm.pretrained.network_classes import knows_sigma, network_classes
from mmd_ddm.pretrained.weights_files import load_model

if TYPE_CHECKING:
    from diffusers import UNet2DModel

    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel

_SAME_SIGMA = 1e-6  # relative; the network has them in float32


def load_denoiser(folder: Path, precision: str = FP32, compiled: bool = False) -> Denoiser:
    """Load the network and noise schedule of a diffusers pipeline, in eval mode, with float32 weights, on the CPU.

    It calculates inside in one of `PRECISIONS`, compiled or not (see `compilation`).

    Raises:
        UserError: the folder is no diffusers pipeline of a `UNet2DModel` or a DiT, is damaged, or network and scheduler
            contradict each other.
    """
    process = scheduler_config(folder)
    schedule = NoiseSchedule.from_scheduler_config(process)
    network = load_network(folder)
    if is_flow_matching(process):
        network = flow_network(network, schedule)
    size, channels = network.config.sample_size, network.config.in_channels
    sides = [size, size] if isinstance(size, int) else size
    config = network_part(folder) / "config.json"
    if not (isinstance(sides, (list, tuple)) and len(sides) == 2 and all(isinstance(side, int) for side in sides)):
        raise UserError(f"sample_size in {config} is {size!r}; it must be the side of the images, or two")
    if OF_DIT in network.config and schedule.variance_type == "learned_range":
        schedule = replace(schedule, variance_type=None)  # DiTPipeline drops what it has learned of it
    _check_channels(network, schedule, config)
    _check_noise_levels(network, schedule, config)
    decoder = load_decoder(folder, precision, compiled)
    classes, null_class = classes_of(network.config), null_class_of(network.config)
    _check_latents(network, decoder, config)
    return Denoiser(network, schedule, (channels, *sides), precision, compiled, classes, null_class, decoder)


def load_network(folder: Path) -> UNet2DModel:
    """Load the network alone, in eval mode; a table of time embeddings is frozen, since it stands for a fixed function.

    Raises:
        UserError: it is neither a `UNet2DModel` nor a DiT, or one with other conditions than class labels, or its
            weights are not whole, finite real numbers.
    """
    unet = network_part(folder)
    config = unet_config(folder)
    kind = config.get("_class_name")
    known = network_classes()
    if OF_DIT in config:
        known["Transformer2DModel"] = known["DiTTransformer2DModel"]  # as DiT's authors' configs call it
    build = known.get(str(kind))
    if build is None:
        raise UserError(f"the network in {unet} is a {kind}; only UNet2DModel and DiTTransformer2DModel are supported")
    classes_of(config)
    network = load_model(build, config, unet, "network")
    if isinstance(getattr(network, "time_proj", None), nn.Embedding):
        network.time_proj.requires_grad_(False)
    return network


def _check_channels(network: UNet2DModel, schedule: NoiseSchedule, config: Path) -> None:
    channels = network.config.in_channels
    expected = channels * (2 if schedule.variance_type == "learned_range" else 1)
    if OF_DIT in network.config and network.out_channels in (channels, 2 * channels):
        return
    if network.config.out_channels != expected:
        raise UserError(
            f"out_channels in {config} is {network.config.out_channels}, but with in_channels {channels} and "
            f"variance_type {schedule.variance_type} of the scheduler config it must be {expected}"
        )


def _check_latents(network: UNet2DModel, decoder: ImageDecoder | None, config: Path) -> None:
    """Refuse a network and an autoencoder that do not belong together."""
    channels = network.config.in_channels
    if decoder is None:
        if OF_DIT in network.config:
            raise UserError(f"{config.parent.parent} is no whole model: beside its transformer there is no vae")
        return
    if channels != (latents := latent_channels(decoder.autoencoder.config)):
        raise UserError(
            f"in_channels in {config} is {channels}, but the autoencoder beside it decodes {latents} channels"
        )


def flow_network(network: UNet2DModel, schedule: NoiseSchedule) -> FlowUNet2DModel:
    """Make of a network that was trained by flow matching one that predicts v, with the same modules.

    Raises:
        UserError: it is no plain `UNet2DModel`, or has a table of time embeddings.
    """
    from diffusers import UNet2DModel

    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel

    if type(network) is not UNet2DModel or isinstance(network.time_proj, nn.Embedding):
        kind = f"a {type(network).__name__} with time embeddings {network.config.get('time_embedding_type')}"
        raise UserError(
            f"the scheduler config is of flow matching, and the network {kind}; only a UNet2DModel whose time "
            "embeddings are a function is supported"
        )
    return FlowUNet2DModel.of(network, schedule.sigmas, schedule.length)


def _check_noise_levels(network: UNet2DModel, schedule: NoiseSchedule, config: Path) -> None:
    """Refuse a network that knows noise levels, not timesteps, where its scheduler's config says otherwise."""
    if not knows_sigma(network):
        return
    levels = schedule.sigmas
    same = network.sigmas.shape == levels.shape
    if schedule.table is None:  # else the sampler may have learned to tell other levels
        same = same and torch.allclose(network.sigmas.double(), levels, _SAME_SIGMA, 0.0)
    if not same:
        raise UserError(f"the noise levels of the network of {config} are not those of its scheduler config")
    if network.predicts != schedule.prediction_type:
        raise UserError(
            f"prediction_type of the scheduler config is {schedule.prediction_type}, and the network of {config} "
            f"predicts {network.predicts}"
        )
