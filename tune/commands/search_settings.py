"""From the command line to what a study is asked for; what is wrong is found here, before anything starts."""

from __future__ import annotations

import argparse
from itertools import product

from mmd_ddm.data.names import OWN
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import suited
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.experiment.tracking.model_uri import resolve
from tune.options import machines
from tune.space.dimension import Choice
from tune.space.parse import read_space
from tune.space.space import Space, default_space, settle
from tune.study.settings import FINAL_IMAGES, SearchSettings

TRIALS = 8


def plan(options: argparse.Namespace) -> SearchSettings:
    """Return the settings of a new study.

    Raises:
        UserError: A name, value or range is wrong; says which and what is allowed.
    """
    images = (options.dataset or OWN, options.data, options.resolution, options.score_features)
    best = _changed(preset("best", *images), options)
    paper = _changed(preset("paper", *images), options).replace(updates=best.optimization.updates)
    _check(best, offline=options.offline_check)
    space = read_space(default_space(best), options.space or (), best)
    for steps, schedule in product(_ends(space, "steps", best), _ends(space, "schedule", best)):
        _check(settle(best, {"steps": steps, "schedule": schedule}), offline=options.offline_check)
    trials, final_images = options.trials or TRIALS, options.final_images or FINAL_IMAGES
    seed, asked = options.seed or 0, machines(options)
    return SearchSettings(best, paper, space, trials, seed, final_images, asked, options.concurrent)


def _ends(space: Space, name: str, base: Config) -> tuple[Scalar, ...]:
    """The values of a setting at which a budget could turn out to be impossible."""
    dimension = space.dimensions.get(name)
    if dimension is None:
        return (base.flat()[name],)
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def _changed(config: Config, options: argparse.Namespace) -> Config:
    named = ("name", "steps", "updates", "seed", "scorings", "score_images")
    given = {name: getattr(options, name) for name in named}
    given["base_model"] = options.base_model and resolve(options.base_model)
    named_ones = {name: value for name, value in given.items() if value is not None}
    changed = config.replace(**{**suited(given["base_model"]), **named_ones})
    updates, scorings = changed.optimization.updates, changed.scoring.scorings
    return changed.replace(scorings=min(updates, scorings)) if options.scorings is None else changed


def _check(config: Config, *, offline: bool) -> None:
    from mmd_ddm.experiment.inputs import check, scored_spaces

    if config.scoring.scorings > config.optimization.updates:
        raise UserError(
            f"scorings is {config.scoring.scorings}; a trial of {config.optimization.updates} updates can't be scored "
            "more often than it is updated"
        )
    if offline:  # a base model that is not there is what the check is to tell
        scored_spaces(config)
    else:
        check(config)
