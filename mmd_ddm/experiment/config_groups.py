"""The groups of a run's settings: how images are generated, what is minimised, how, and how the model is scored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from mmd_ddm.compilation import COMPILE, OFF
from mmd_ddm.diffusion.names import SAMPLERS, VARIANCES
from mmd_ddm.diffusion.timesteps import FROM_ZERO, SCHEDULES, default_schedule
from mmd_ddm.discrepancy.names import DTYPES
from mmd_ddm.discrepancy.specification import Bandwidth, parse_bandwidth, parse_kernel
from mmd_ddm.experiment.names import read_budgets
from mmd_ddm.experiment.run_folder import BEST, LAST
from mmd_ddm.experiment.setting import Rule, number, one_of, or_none, setting, text, whole
from mmd_ddm.features.published.preprocessing import PREPROCESSINGS
from mmd_ddm.features.specification import parse_features
from mmd_ddm.finetuning.names import IMAGE_RANGES, LEARNED, LOSSES, MATCHINGS, MMD, ROUTES, WEIGHTS
from mmd_ddm.precision import FP32, PRECISIONS

MOST_GUIDANCE = 100


# fmt: off
@dataclass(frozen=True)
class SamplerConfig:
    """How images are generated, while finetuning and afterwards."""

    sampler: str = setting("ddim", one_of(*SAMPLERS), "update rule of the chain: ddim, ddpm, or a multistep solver")
    steps: int = setting(5, whole(1),
        "budget S: network evaluations per image (1 to T); several, such as 2,3,5, for one set of weights")
    schedule: str = setting("linear", one_of(*SCHEDULES),
        "timesteps of the budget; trailing, logsnr and karras begin at the last of all; stride is the published code's "
        "(16 for 15)")
    eta: float = setting(0.0, number(0, 1, "a number from 0 to 1"), "noise of DDIM: 0 deterministic, 1 as DDPM")
    variance: str = setting("model", one_of(*VARIANCES),
        "variance of DDPM; model: as the base model's own sampler has it")
    guidance_scale: float | None = setting(None,
        or_none(number(1, MOST_GUIDANCE, f"a number from 1 to {MOST_GUIDANCE}")),
        "classifier-free guidance of a DiT, w of u + w (c - u); above 1 each step takes two evaluations; none: off")


def with_steps(sampler: SamplerConfig, steps: int) -> SamplerConfig:
    """A sampler with another budget, whose one evaluation, if it is one, is not at timestep 0."""
    schedule = default_schedule(steps) if steps == 1 and sampler.schedule in FROM_ZERO else sampler.schedule
    return dataclasses.replace(sampler, steps=steps, schedule=schedule)


@dataclass(frozen=True)
class ObjectiveConfig:
    """The discrepancy that is minimised."""

    loss: str = setting(MMD, one_of(*LOSSES),
        "mmd: squared MMD of the kernel, or frechet: Frechet distance of mean and covariance, which FID measures")
    features: str = setting("classifier", text(parse_features, "a feature space or a mixture of them"),
        "feature space of the loss, or several with weights, such as scattering+0.5*patches")
    preprocessing: str = setting("evaluation", one_of(*PREPROCESSINGS),
        "how the loss prepares images for inception and clip: as evaluation tools do, or as the published code did")
    kernel: str = setting("cubic", text(lambda value: parse_kernel(value), "a sum of kernel terms"),
        "of loss mmd: linear, cubic, energy, rbf, rational_quadratic, or a sum such as 0.1*cubic+rbf:0.5+rbf:median")
    bandwidth: Bandwidth | None = setting(None,
        or_none(Rule(lambda value: parse_bandwidth(str(value)), bool, "dim, median, 0.5*median, a positive number")),
        "sigma of the kernel terms that name none: a number, dim (sigma^2 = d/2), median (distance of real features), "
        "or a multiple such as 0.5*median")
    matching: str | None = setting(None, or_none(one_of(*MATCHINGS)),
        "of a class-conditional model: joint compares pairs of image and class label, marginal the images alone; none: "
        "joint where model and data have classes and the loss is mmd")
    reference: str = setting("bank", one_of("bank", "batch"),
        "real side of the loss: all real features, or a fresh batch per update")
    bank_dtype: str = setting("float32", one_of(*DTYPES),
        "precision in which the loss keeps the real features; float16 takes half")
    image_range: str = setting("clamp", one_of(*IMAGE_RANGES),
        "what the loss sees of pixels outside [-1, 1]: as they are, clamped, or clamped with the gradient let through")

    @cached_property
    def spaces(self) -> dict[str, float]:
        """The feature spaces of the loss with their weights."""
        return {name: weight for weight, name in parse_features(self.features)}


@dataclass(frozen=True)
class OptimizationConfig:
    """How the weights are updated."""

    learning_rate: float = setting(5e-6, number(0, 1, "a positive number of at most 1", low_included=False),
        "Adam's learning rate")
    learn: str = setting(WEIGHTS, one_of(*LEARNED),
        "what is finetuned: the weights, the sampler (its noise levels, coefficients and told times), or both")
    sampler_learning_rate: float = setting(1e-2, number(0, 1, "a positive number of at most 1", low_included=False),
        "Adam's learning rate of the sampler's parameters, where they are learned")
    updates: int = setting(500, whole(1), "number of optimizer updates")
    other_steps: str | None = setting(None,
        or_none(Rule(read_budgets, bool, "whole numbers of at least 1, such as 2,3")),
        "further budgets of the same weights, each update for one of all; steps 2,3,5 is steps 5 with 2,3 here")
    batch: int = setting(128, whole(2), "N: generated images per update, over all workers")
    micro_batch: int | None = setting(None, or_none(whole(1)),
        "images that pass the network together; none: as many as fit in memory")
    clip: float | None = setting(None, or_none(number(0, float("inf"), "a positive number", low_included=False)),
        "largest norm of an update's gradient, applied once")
    ema: float = setting(0.0, number(0, 0.99999, "a number from 0 to below 1"),
        "decay of the moving average of the weights; 0: none")
    gradient: str = setting("auto", one_of("auto", *ROUTES),
        "stored graph, replayed chain (constant memory), or what fits")
    dropout: str = setting("eval", one_of("eval", "train"), "the network's dropout while finetuning: off or on")
    precision: str = setting(FP32, one_of(*PRECISIONS),
        "inside the diffusion model: fp32, tf32 (products of NVIDIA GPUs) or bf16; all else is fp32 or better")
    compile: str = setting(OFF, one_of(*COMPILE),
        "whether the diffusion model and the feature networks are compiled, which takes a minute or more at the start")


@dataclass(frozen=True)
class ScoringConfig:
    """How often and in which feature spaces the model is scored while it is finetuned, and what is kept of it."""

    score_features: str | None = setting(None, or_none(Rule(str, bool, "names joined by +")),
        "feature spaces of KID and FID, joined by +; none: the data set's own and those of the loss")
    score_images: int = setting(2000, whole(4), "generated images each time a run is scored")
    scorings: int = setting(4, whole(1), "how many times a run is scored, evenly spread, the last at its end")
    keep: str = setting(BEST, one_of(BEST, LAST), "which of the scored states is exported: the best one, or the last")

    @property
    def spaces(self) -> tuple[str, ...] | None:
        """The feature spaces that are asked for, if any are."""
        return None if self.score_features is None else tuple(self.score_features.split("+"))
