"""How fast this machine is at a run's work, measured on as few images as tell it, for an estimate before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.labels import labels_in_turn
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.evaluation.evaluator import SAMPLING_BATCH
from mmd_ddm.experiment.build import Parts, default_device
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import network_evaluations
from mmd_ddm.experiment.inputs import dataset_of
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.finetuning.gradient import GRADIENTS
from mmd_ddm.finetuning.memory import choose_route
from mmd_ddm.finetuning.objective import ValueAndGradient

ENOUGH = 0.3  # seconds that a measurement takes at least, unless the work is over sooner


class Pace(NamedTuple):
    """Seconds that one image takes."""

    gradient: float  # of an update, a network evaluation: the loss itself is below a hundredth
    evaluation: float  # of sampling, a network evaluation
    features: float  # to embed it in all spaces that are scored

    def scored(self, images: float, nfe: float) -> float:
        """Seconds to generate images with some network evaluations each, and to embed them."""
        return images * (nfe * self.evaluation + self.features)

    def run(self, config: Config, workers: int) -> float:
        """Seconds of a whole run, spread over its workers, the base model's scores included."""
        found, nfe = network_evaluations(config), sum(config.budgets) / len(config.budgets)
        return (found.finetuning * self.gradient + self.scored(found.scoring / nfe, nfe)) / workers


def measure_pace(config: Config, threads: int, device: torch.device | None = None) -> Pace:
    """Measure on a device (None: CUDA if there is one), with some threads of the CPU, in 1 to 3 s for small models.

    The real images are not needed, so that no bank is made.
    """
    torch.set_num_threads(threads)
    parts, c = Parts(config, device or default_device()), config.optimization
    chain, shape, noise = parts.chain, parts.denoiser.image_shape, NoiseSource(0, "pace")

    def draw(images: int) -> Start:
        labels = labels_in_turn(parts.denoiser.classes, images)
        return Start(noise.draw(0, range(images), chain.draws, shape), labels).to(parts.device)

    def any_images(count: int) -> Tensor:
        return noise.draw(0, range(count), 1, dataset_of(config).image_shape)[0].to(parts.device)

    together = FeatureMixture(list(parts.spaces.values()))
    route = choose_route(parts.pipeline, draw(2), c.batch, 1, gradient=c.gradient, micro_batch=c.micro_batch)

    def update(images: int) -> None:
        GRADIENTS[route.gradient](parts.pipeline, _any_gradient, draw(images).split(route.micro_batch), 0)

    gradient = _seconds_each(update, c.batch, parts.device)
    with torch.no_grad():
        sampled = _seconds_each(lambda n: chain.sample(parts.denoiser, *draw(n)), SAMPLING_BATCH, parts.device)
        embedded = _seconds_each(lambda n: together(any_images(n)), SAMPLING_BATCH, parts.device)
    nfe = chain.nfe
    return Pace(gradient / nfe, sampled / nfe, embedded)


def _any_gradient(features: Tensor, update: int) -> ValueAndGradient:
    return ValueAndGradient(torch.zeros((), dtype=torch.float64), torch.ones_like(features))


def _seconds_each(work: Callable[[int], object], most: int, device: torch.device) -> float:
    """Seconds an item, of groups that grow until one is large enough to be measured, or has `most` items."""
    count = min(2, most)
    work(count)  # what is made at first use is no part of it
    while True:
        _wait(device)
        began = time.perf_counter()
        work(count)
        _wait(device)
        took = time.perf_counter() - began
        if took > ENOUGH or count == most:
            return took / count
        count = min(most, 4 * count)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
