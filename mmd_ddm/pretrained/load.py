"""From the folder of a base model to a denoiser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.names import is_flow_matching
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.precision import FP32
from mmd_ddm.pretrained.configs import part_of, scheduler_config, unet_config
from mmd_ddm.pretrained.weights_files import fitting, load_weights, read_weights

if TYPE_CHECKING:
    from diffusers import UNet2DModel

    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel

_SAME_SIGMA = 1e-6  # relative; the network has them in float32


def load_denoiser(folder: Path, precision: str = FP32, compiled: bool = False) -> Denoiser:
    """Load the network and noise schedule of a diffusers pipeline, in eval mode, with float32 weights, on the CPU.

    It calculates inside in one of `PRECISIONS`, compiled or not (see `compilation`).

    Raises:
        UserError: the folder is no diffusers pipeline of a `UNet2DModel`, is damaged, or network and scheduler
            contradict each other.
    """
    process = scheduler_config(folder)
    schedule = NoiseSchedule.from_scheduler_config(process)
    network = load_network(folder)
    if is_flow_matching(process):
        network = flow_network(network, schedule)
    size, channels = network.config.sample_size, network.config.in_channels
    sides = [size, size] if isinstance(size, int) else size
    config = part_of(folder, "unet") / "config.json"
    if not (isinstance(sides, (list, tuple)) and len(sides) == 2 and all(isinstance(side, int) for side in sides)):
        raise UserError(f"sample_size in {config} is {size!r}; it must be the side of the images, or two")
    expected = channels * (2 if schedule.variance_type == "learned_range" else 1)
    if network.config.out_channels != expected:
        raise UserError(
            f"out_channels in {config} is {network.config.out_channels}, but with in_channels {channels} and "
            f"variance_type {schedule.variance_type} of the scheduler config it must be {expected}"
        )
    _check_noise_levels(network, schedule, config)
    return Denoiser(network, schedule, (channels, *sides), precision, compiled)


def load_network(folder: Path) -> UNet2DModel:
    """Load the network alone, in eval mode; a table of time embeddings is frozen, since it stands for a fixed function.

    Raises:
        UserError: it is not a `UNet2DModel` without classes, or its weights are not whole, finite real numbers.
    """
    unet = part_of(folder, "unet")
    config = unet_config(folder)
    kind = config.get("_class_name")
    from diffusers import UNet2DModel

    from mmd_ddm.pretrained.edm_unet import EDMUNet2DModel
    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel
    from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel

    # our own class, not the file that lies in the folder: no code of a model is run
    known = {each.__name__: each for each in (UNet2DModel, MultiHeadUNet2DModel, EDMUNet2DModel, FlowUNet2DModel)}
    build = known.get(str(kind))
    if build is None:
        raise UserError(f"the network in {unet} is a {kind}; only UNet2DModel is supported")
    try:
        weights = read_weights(unet)
        with torch.device("meta"):  # before memory is taken: the file has all that the config asks for
            weights = fitting(weights, build.from_config(config))
        network = build.from_config(config)
        load_weights(weights, network)
    except (OSError, ValueError, RuntimeError, TypeError, ArithmeticError) as error:  # a UserError is a ValueError
        # the first line may only announce the second
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UserError(f"the network in {unet} cannot be loaded: {reason}") from None
    if isinstance(network, EDMUNet2DModel):
        return network.eval()
    if network.class_embedding is not None:
        raise UserError(f"the network in {unet} needs class labels; only unconditional models are supported")
    if isinstance(network.time_proj, nn.Embedding):
        network.time_proj.requires_grad_(False)
    return network.eval()


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


def _check_noise_levels(network: nn.Module, schedule: NoiseSchedule, config: Path) -> None:
    """Refuse a network that knows noise levels, not timesteps, where its scheduler's config says otherwise."""
    from mmd_ddm.pretrained.edm_unet import EDMUNet2DModel
    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel

    if not isinstance(network, EDMUNet2DModel | FlowUNet2DModel):
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
