"""What a run takes in, as its configuration names it: whether there is such a thing, and fits; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.diffusion.budgets import check_chain, is_guided
from mmd_ddm.diffusion.names import FLOW_SCHEDULE, is_flow_matching
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.classes import matches_pairs
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import MOST_GUIDANCE
from mmd_ddm.features.published.preprocessing import preprocessing_of
from mmd_ddm.features.registry import check_feature_space
from mmd_ddm.pretrained.configs import OF_DIT, check_fits, classes_of, null_class_of, scheduler_config, unet_config
from mmd_ddm.pretrained.locate import find_local, locate


def dataset_of(config: Config) -> DatasetSpec:
    """What the catalogue knows of the run's images."""
    return _spec(config.dataset, config.data, config.resolution)


_spec = lru_cache(maxsize=8)(dataset_spec)  # a folder of a million files is walked once


def base_model(config: Config) -> str:
    """The base model's folder, hub id or file; a UserError if the data set has none of its own and none is named."""
    source = config.base_model or dataset_of(config).base_model
    if source is None:
        raise UserError(f"data set {config.dataset} has no base model of its own; name one with --base-model")
    return source


def suited(source: object) -> dict[str, str]:
    """The settings that a base model, if one is named and on this machine, needs where users name no others.

    One of flow matching is sampled from its end on: elsewhere too much of an image is there to begin with noise.
    """
    local = None if source is None else find_local(str(source))
    return {"schedule": FLOW_SCHEDULE} if local is not None and is_flow_matching(scheduler_config(local)) else {}


def base_folder(config: Config) -> Path:
    """The folder of the base model, downloaded if need be; a UserError as of `base_model` and `locate`."""
    return locate(*_source(config))


def _source(config: Config) -> tuple[str, str | None]:
    return base_model(config), None if config.base_model else dataset_of(config).base_model_origin


def scored_spaces(config: Config) -> tuple[str, ...]:
    """Feature spaces in which the run is scored; the trained ones first, if they are among them."""
    trained = tuple(config.objective.spaces)
    known = dataset_of(config)
    names = config.scoring.spaces or (*trained, *known.feature_spaces)
    for name in (*trained, *names):
        check_feature_space(name, config.dataset, known.image_shape)
    return tuple(sorted(dict.fromkeys(names), key=lambda name: name not in trained))


def check_guidance(guidance_scale: float | None, unet: Mapping[str, object]) -> None:
    """Refuse guidance that is out of its range, or of a network, of this config, that can't be guided."""
    if guidance_scale is not None and not 1 <= guidance_scale <= MOST_GUIDANCE:
        raise UserError(f"guidance_scale is {guidance_scale:g}; it must be a number from 1 to {MOST_GUIDANCE}")
    if is_guided(guidance_scale) and null_class_of(unet) is None:
        raise UserError(
            f"guidance_scale is {guidance_scale:g}, but it is for DiT models of 1000 classes, which know images "
            "without a label too; leave it out"
        )


def check(config: Config) -> None:
    """Refuse, before anything heavy is loaded, feature spaces, images or steps that do not fit data set or model."""
    scored_spaces(config)
    for name in config.objective.spaces:
        preprocessing_of(name, config.objective.preprocessing)
    if (local := find_local(*_source(config))) is not None:
        check_fits(local, dataset_of(config))
        matches_pairs(config, classes_of(unet := unet_config(local)))
        check_guidance(config.sampler.guidance_scale, unet)
        if OF_DIT in unet and config.sampler.eta:
            raise UserError(f"eta is {config.sampler.eta}, but DiTPipeline, as which a DiT is exported, knows none")
        length = scheduler_config(local).get("num_train_timesteps")
        if isinstance(length, int):
            for how in config.samplers.values():
                check_chain(how.sampler, how.schedule, how.steps, length, how.guidance_scale)
