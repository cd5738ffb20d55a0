"""What a run will need, told before it starts: network evaluations and memory, without weights or images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.diffusion.timesteps import timesteps
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run import milestones
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.memory import footprint
from mmd_ddm.pretrained.formats.architecture import build_unet

_FLOAT = 4  # bytes
_LENGTH = 1000  # T, of a model that is not there yet
_COPIES = 4  # of the weights while finetuning: themselves, their gradient and Adam's two moments


@dataclass(frozen=True)
class Evaluations:
    """Network evaluations of a run: of one image at one timestep each.

    Args:
        finetuning: with their gradient; when the chain is replayed, each is computed once more.
        scoring: without gradient, the base model's scores included.
    """

    finetuning: int
    scoring: int


def evaluations(config: Config) -> Evaluations:
    """Count what a run evaluates the network on, not stopped early.

    Raw and averaged weights are both scored at the end, and the base model once before.
    """
    optimization, length = config.optimization, max(_LENGTH, config.sampler.steps)
    steps = len(timesteps(config.sampler.schedule, config.sampler.steps, length))
    times = len(milestones(optimization.updates, config.evaluation.evaluations)) + 1 + (optimization.ema > 0)
    return Evaluations(
        optimization.updates * optimization.batch * steps, times * config.evaluation.evaluation_images * steps
    )


@dataclass(frozen=True)
class Memory:
    """Bytes on each worker's device.

    Args:
        parameters: number of weights.
        weights: for the weights, their gradient, Adam and the average.
        states: for the noise and the images along the chain of the worker's part of a batch.
        evaluation: that autograd keeps of one network evaluation of one image.
    """

    parameters: int
    weights: int
    states: int
    evaluation: float

    def graph(self, images: int, evaluations: int) -> float:
        """Bytes that autograd keeps of some images through some evaluations."""
        return images * evaluations * self.evaluation


def memory(config: Config, unet: Mapping[str, Any], workers: int) -> Memory:
    """Count the bytes of an update on each of several workers, on a network without storage.

    Args:
        config: of the run.
        unet: config of its U-Net.
        workers: over which a batch is spread.
    """
    with torch.device("meta"):
        network: nn.Module = build_unet(unet)
    size, channels, steps = unet["sample_size"], unet["in_channels"], config.sampler.steps
    height, width = (size, size) if isinstance(size, int) else size
    schedule = NoiseSchedule(torch.linspace(0.999, 0.001, max(_LENGTH, steps), dtype=torch.float64))
    denoiser = Denoiser(network, schedule, (channels, height, width))
    chain = make_chain(schedule, steps=steps, schedule=config.sampler.schedule, eta=config.sampler.eta)
    noise = torch.empty((chain.draws, 2, channels, height, width), device="meta")
    kept = footprint(Rollout(denoiser, chain, _pixels), noise).evaluation
    parameters = sum(p.numel() for p in network.parameters())
    copies = _COPIES + (config.optimization.ema > 0)
    share = -(-config.optimization.batch // workers)
    held = share * (len(chain.timesteps) + chain.draws) * channels * height * width * _FLOAT
    return Memory(parameters, copies * _FLOAT * parameters, held, kept)


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1)
