"""What a run will need, told before it starts: network evaluations and memory, without weights or images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch

from mmd_ddm.diffusion.budgets import evaluations
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import labels_in_turn
from mmd_ddm.diffusion.names import LEARNED
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.experiment.config import Config
from mmd_ddm.finetuning.footprint import footprint
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.pretrained.autoencoder import build_decoder
from mmd_ddm.pretrained.configs import classes_of, null_class_of
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.training import milestones

_FLOAT = 4  # bytes
_LENGTH = 1000  # T, of a model that is not there yet
_COPIES = 4  # of the weights while finetuning: themselves, their gradient and Adam's two moments


class NetworkEvaluations(NamedTuple):
    """Evaluations of the network, of one image at one timestep each."""

    finetuning: int  # with their gradient; when the chain is replayed, each is computed once more
    scoring: int  # without gradient, the base model's scores included


def network_evaluations(config: Config) -> NetworkEvaluations:
    """Count those of a run that is not stopped early; at its end raw and averaged weights are both scored."""
    c, length = config.optimization, max(_LENGTH, *config.budgets)
    nfe = [
        evaluations(how.sampler, how.schedule, how.steps, length, how.guidance_scale)
        for how in config.samplers.values()
    ]
    images = config.scoring.score_images * (1 + len(milestones(c.updates, config.scoring.scorings)) + (c.ema > 0))
    # an update is for one of the budgets, a scoring for all of them
    return NetworkEvaluations(c.updates * c.batch * sum(nfe) // len(nfe), images * sum(nfe))


class MemoryEstimate(NamedTuple):
    """Bytes on each worker's device."""

    parameters: int  # the number of weights
    weights: int  # for them, their gradient, Adam and the average
    states: int  # for the noise and the images along the chain of the worker's part of a batch
    evaluation: float  # that autograd keeps of one network evaluation of one image
    decoding: float = 0.0  # that it keeps of a latent model's decoder for one image
    together: int = 1  # network evaluations a step: two with guidance
    shared: float = 0.0  # that it keeps of one step, for however many images: what a network makes of its weights

    def graph(self, images: int, nfe: int) -> float:
        """Bytes that autograd keeps of some images through some network evaluations each, and their decoding."""
        return images * (nfe * self.evaluation + self.decoding) + nfe / self.together * self.shared

    @property
    def replayed(self) -> float:
        """Bytes of the largest piece of one image's graph that is alive at a time when the chain is replayed."""
        return max(self.together * self.evaluation + self.shared, self.decoding)


def memory_estimate(
    config: Config, unet: Mapping[str, object], workers: int, autoencoder: Mapping[str, object] | None = None
) -> MemoryEstimate:
    """Count the bytes of an update on each of the workers that share a batch, on networks without storage."""
    with (meta := torch.device("meta")):
        network, decoder = build_unet(unet), None if autoencoder is None else build_decoder(autoencoder)
    size, channels = network.config.sample_size, network.config.in_channels
    sampler = config.samplers[config.budgets[-1]]
    height, width = (size, size) if isinstance(size, int) else size
    schedule = NoiseSchedule(torch.linspace(0.999, 0.001, max(_LENGTH, sampler.steps), dtype=torch.float64))
    # any of the variances: DDPM draws noise for each step whichever it has, and an absent model tells none
    variance = "fixed_large" if sampler.sampler == "ddpm" else "model"
    name = "ddim" if sampler.sampler == LEARNED else sampler.sampler  # an absent model tells of no sampler
    chain = make_chain(schedule, **vars(replace(sampler, sampler=name, variance=variance)))
    shape, classes = (channels, height, width), classes_of(unet)
    denoiser = Denoiser(
        network, schedule, shape, classes=classes, null_class=null_class_of(unet), decoder=decoder
    )  # fmt: skip
    noise = torch.empty((chain.draws, 2, channels, height, width), device=meta)
    start = Start(noise, labels_in_turn(classes, 2)).to(meta)
    kept = footprint(Rollout(denoiser, chain, lambda images: images.flatten(1)), start)
    frozen = sum(p.numel() for p in decoder.parameters()) if decoder is not None else 0
    parameters = sum(p.numel() for p in network.parameters())
    copies = _COPIES + (config.optimization.ema > 0)
    share = -(-config.optimization.batch // workers)
    images = len(chain.timesteps) * chain.solver.carried + chain.draws
    states = share * images * channels * height * width * _FLOAT
    weights = _FLOAT * (copies * parameters + frozen)
    together = chain.nfe // len(chain.timesteps)
    return MemoryEstimate(parameters, weights, states, kept.evaluation / together, kept.features, together, kept.shared)
