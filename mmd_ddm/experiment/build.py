"""The parts of a run, put together from its configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mmd_ddm.data.catalogue import entry, load_dataset
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.diffusion.timesteps import timesteps
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.gather import Collective
from mmd_ddm.discrepancy.kernels import make_kernel, parse_kernel
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.scores import Evaluator, from_uint8
from mmd_ddm.experiment.config import Config
from mmd_ddm.features.space import FeatureSpace, load_feature_space
from mmd_ddm.finetuning.gradient import Pipeline
from mmd_ddm.finetuning.image_range import into_range
from mmd_ddm.finetuning.objective import BankReference, BatchReference, Objective
from mmd_ddm.pretrained.load import check_fits, find_local, load_denoiser, locate, scheduler_config


def base_model(config: Config) -> str:
    """The base model's folder or hub id."""
    return config.base_model or entry(config.dataset).base_model


def evaluation_spaces(config: Config) -> tuple[str, ...]:
    """Feature spaces in which the run is scored; the trained one first, if it is among them."""
    fitting = entry(config.dataset).feature_spaces
    asked = config.evaluation.evaluation_features
    names = fitting if asked is None else tuple(asked.split("+"))
    for name in (config.objective.features, *names):
        if name not in fitting:
            raise UserError(
                f"feature space {name!r} does not fit data set {config.dataset}; it has {', '.join(fitting)}"
            )
    return tuple(sorted(names, key=lambda name: name != config.objective.features))


def check(config: Config) -> None:
    """Find what a configuration alone cannot tell to be wrong, before anything heavy is loaded.

    Raises:
        UserError: a feature space that does not fit the data set, or more steps than the base model has.
    """
    evaluation_spaces(config)
    local = find_local(base_model(config))
    length = scheduler_config(local).get("num_train_timesteps") if local is not None else None
    if length is not None:
        timesteps(config.sampler.schedule, config.sampler.steps, int(length))


@dataclass(frozen=True)
class Parts:
    """What a run is made of, on its device; expensive parts are made when first asked for.

    Args:
        config: of the run.
        device: of network and features.
        collective: the workers.
    """

    config: Config
    device: torch.device
    collective: Collective

    @cached_property
    def images(self) -> Tensor:
        """Real images (M, C, H, W) in [-1, 1]."""
        return from_uint8(load_dataset(self.config.dataset).images).to(self.device)

    @cached_property
    def scheduler(self) -> dict[str, Any]:
        """Scheduler config of the base model."""
        return scheduler_config(locate(base_model(self.config)))

    @cached_property
    def denoiser(self) -> Denoiser:
        """The base model."""
        denoiser = load_denoiser(locate(base_model(self.config)))
        check_fits(denoiser, entry(self.config.dataset))
        denoiser.train(self.config.optimization.dropout == "train")
        return denoiser.to(self.device)

    @cached_property
    def chain(self) -> Chain:
        """The sampler with its budget."""
        c = self.config.sampler
        return make_chain(
            self.denoiser.schedule,
            sampler=c.sampler, steps=c.steps, schedule=c.schedule, eta=c.eta, variance=c.variance,
        )  # fmt: skip

    @cached_property
    def spaces(self) -> dict[str, FeatureSpace]:
        """The trained feature space and those of the evaluation, by name."""
        names = dict.fromkeys((self.config.objective.features, *evaluation_spaces(self.config)))
        return {name: load_feature_space(name, self.config.dataset).to(self.device) for name in names}

    @cached_property
    def banks(self) -> dict[str, Bank]:
        """Real features in each space."""
        return {name: Bank.embed(self.images, space, self.collective) for name, space in self.spaces.items()}

    @cached_property
    def pipeline(self) -> Pipeline:
        """From noise to features of the loss."""
        space, how = self.spaces[self.config.objective.features], self.config.objective.image_range
        training = self.config.optimization.dropout == "train"
        return Pipeline(
            self.denoiser,
            self.chain,
            lambda images: space(into_range(images, how)),
            NoiseSource(self.config.seed, f"dropout {self.collective.rank}") if training else None,
        )

    @cached_property
    def objective(self) -> Objective:
        """The loss on features."""
        c = self.config.objective
        bank = self.banks[c.features]
        kernel = make_kernel(parse_kernel(c.kernel, c.bandwidth), bank.features)
        batch = self.config.optimization.batch
        reference = (
            BankReference(bank, kernel)
            if c.reference == "bank"
            else BatchReference(bank, kernel, batch, self.config.seed)
        )
        return Objective(kernel, reference, self.collective)

    @cached_property
    def evaluator(self) -> Evaluator:
        """Scores in every evaluation space."""
        names = evaluation_spaces(self.config)
        return Evaluator(
            self.chain,
            {name: self.spaces[name] for name in names},
            {name: self.banks[name] for name in names},
            self.config.evaluation.evaluation_images,
            # one stream for all runs of a seed: trials that are compared start from the same noise
            NoiseSource(self.config.seed, "evaluation"),
            self.collective,
            self.device,
        )

    def evaluator_with(self, chain: Chain, images: int, stream: str) -> Evaluator:
        """The evaluator with another chain, number of images and stream of noise."""
        return replace(self.evaluator, chain=chain, images=images, noise=NoiseSource(self.config.seed, stream))
