"""The one way in which scores are made: of models, each with its sampler, against the same real images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from mmd_ddm.diffusion.baselines import make_baseline
from mmd_ddm.diffusion.names import SAMPLERS, VARIANCES
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.by_class import kid_by_class
from mmd_ddm.evaluation.evaluator import Evaluator, Sampler
from mmd_ddm.evaluation.floor import real_floor
from mmd_ddm.evaluation.measure import measure
from mmd_ddm.evaluation.metrics import Metric, Metrics
from mmd_ddm.evaluation.names import spaces_of
from mmd_ddm.experiment.build import TRIAL_NOISE, Parts
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.scoring.scored_model import Scored, ScoredModel


def make_sampler(config: SamplerConfig, noise_schedule: NoiseSchedule) -> Sampler:
    """Make a sampler for a model; a UserError if it can't have that budget or the model hasn't what it needs."""
    if config.sampler in SAMPLERS:
        return make_chain(noise_schedule, **vars(config))
    return make_baseline(config.sampler, noise_schedule, config.steps, config.guidance_scale)


def check_noise(eta: float | None, variance: str | None, samplers: str) -> None:
    """Refuse an eta or a variance that is not allowed, or belongs to none of the samplers (names joined by commas)."""
    if variance is not None and variance not in VARIANCES:
        raise UserError(f"variance is {variance!r}; it must be one of {', '.join(VARIANCES)}")
    if variance not in (None, "model") and "ddpm" not in samplers.split(","):
        raise UserError(f"variance is {variance}, but it belongs to sampler ddpm; leave it out with {samplers}")
    if eta is not None and not 0 <= eta <= 1:
        raise UserError(f"eta is {eta}; it must be a number from 0 to 1")
    if eta and "ddim" not in samplers.split(","):
        raise UserError(f"eta is {eta}, but it belongs to sampler ddim; leave it out with {samplers}")


def open_model(
    parts: Parts,
    model: ScoredModel,
    folder: Path | None = None,
    *,
    images: int,
    stream: str = TRIAL_NOISE,
    seed: int | None = None,
) -> Evaluator:
    """Load a model from its folder (None: the base model), ready to be scored in images of some stream of noise.

    Raises:
        UserError: its images have another shape than the data set's, or the sampler can't have its budget.
    """
    denoiser = parts.model(folder)
    return parts.evaluator_of(denoiser, make_sampler(model.sampler, denoiser.schedule), images, stream, seed)


def score(
    evaluator: Evaluator,
    model: ScoredModel,
    measures: Collection[str] = ("kid", "fid"),
    real_labels: Tensor | None = None,
) -> Scored:
    """Score a model that is open; given the labels of the real images, a class-conditional one by class too."""
    features, by_class = evaluator.features(), tuple[Metrics, ...]()
    if real_labels is not None and evaluator.labels is not None:
        labels = evaluator.labels.draw(0, range(evaluator.images))
        own = {space: each for space, each in features.items() if space not in spaces_of(measures)}
        by_class = kid_by_class(own, labels, evaluator.real, real_labels)
    metrics = measure(features, evaluator.real, measures)
    return Scored(model, metrics, evaluator.images, evaluator.nfe, evaluator.noise.seed, by_class)


def score_real(parts: Parts, measures: Collection[str] = ("kid", "fid")) -> Scored:
    """Score random halves of the real images against each other: the floor of all scores."""
    half, found = len(parts.images) // 2, list[Metric]()
    for space, real in parts.real.items():
        if space not in spaces_of(measures):
            floor = real_floor(real.features, seed=parts.config.seed, device=parts.device)
            if "kid" in measures:
                found.append(Metric("kid", floor.kid, space, deviation=floor.kid_deviation))
            if "fid" in measures:
                found.append(Metric("fid", floor.fid, space, images=half))
    return Scored(None, tuple(found), half)


def possible(models: Sequence[ScoredModel], noise_schedule: NoiseSchedule) -> list[ScoredModel]:
    """Return those whose sampler can have their budget."""
    found = []
    for model in models:
        with suppress(UserError):
            make_sampler(model.sampler, noise_schedule)
            found.append(model)
    return found
