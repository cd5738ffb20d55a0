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
from mmd_ddm.experiment.config import Config
from mmd_ddm.finetuning.gradient import Pipeline
from mmd_ddm.finetuning.memory import footprint
from mmd_ddm.pretrained.published import unet_class

_FLOAT = 4  # bytes
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
    optimization, steps = config.optimization, config.sampler.steps
    times = config.evaluation.evaluations + 1 + (optimization.ema > 0)
    return Evaluations(
        optimization.updates * optimization.batch * steps, times * config.evaluation.evaluation_images * steps
    )


@dataclass(frozen=True)
class Memory:
    """Bytes on each worker's device.

    Args:
        parameters: number of weights.
        weights: for the weights, their gradient, Adam and the average.
        states: for the images along the chain of the worker's part of a batch.
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
        network: nn.Module = unet_class(unet)(**unet).eval()
    side, channels, steps = unet["sample_size"], unet["in_channels"], config.sampler.steps
    schedule = NoiseSchedule(torch.linspace(0.999, 0.001, max(1000, steps), dtype=torch.float64))
    denoiser = Denoiser(network, schedule, (channels, side, side))
    chain = make_chain(schedule, steps=steps)
    noise = torch.empty((chain.draws, 2, channels, side, side), device="meta")
    kept = footprint(Pipeline(denoiser, chain, _pixels), noise).evaluation
    parameters = sum(p.numel() for p in network.parameters())
    copies = _COPIES + (config.optimization.ema > 0)
    share = -(-config.optimization.batch // workers)
    return Memory(parameters, copies * _FLOAT * parameters, share * (steps + 1) * channels * side**2 * _FLOAT, kept)


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1)
