"""From the command line to what a study is asked for; what is wrong is found here, before anything starts."""

from __future__ import annotations

import argparse

from mmd_ddm.data.catalogue import OWN
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config, Scalar
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.ray_train import check_gpus
from tune.space import Choice, Dimension, default_space
from tune.study import FINAL_IMAGES, Settings
from tune.written_space import read_space

TRIALS = 8


def plan(options: argparse.Namespace) -> Settings:
    """Return the settings of a new study.

    Raises:
        UserError: A name, value or range is wrong; says which and what is allowed.
    """
    images = (options.dataset or OWN, options.data, options.resolution, options.evaluation_features)
    best = _changed(preset("best", *images), options)
    paper = _changed(preset("paper", *images), options).replace(updates=best.optimization.updates)
    _check(best, offline=options.offline_check)
    space = read_space(default_space(best), options.space or (), best)
    for steps in _ends(space.dimensions.get("steps")):
        _check(best.replace(steps=steps), offline=options.offline_check)
    workers, gpus, cpus = _machines(options)
    return Settings(
        config=dict(best.flat()),
        first=dict(paper.flat()),
        space=space.as_text(),
        trials=options.trials or TRIALS,
        workers=workers,
        gpus=gpus,
        cpus=cpus,
        seed=options.seed or 0,
        final_images=options.final_images or FINAL_IMAGES,
    )


def _ends(dimension: Dimension | None) -> tuple[Scalar, ...]:
    if dimension is None:
        return ()
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def _changed(config: Config, options: argparse.Namespace) -> Config:
    given = {
        "steps": options.steps,
        "updates": options.updates,
        "base_model": options.base_model,
        "seed": options.seed,
        "evaluations": options.evaluations,
        "evaluation_images": options.images,
    }
    changed = config.replace(**{name: value for name, value in given.items() if value is not None})
    updates, evaluations = changed.optimization.updates, changed.evaluation.evaluations
    return changed.replace(evaluations=min(updates, evaluations)) if options.evaluations is None else changed


def _check(config: Config, *, offline: bool) -> None:
    from mmd_ddm.experiment.build import check, evaluation_spaces

    if config.evaluation.evaluations > config.optimization.updates:
        raise UserError(
            f"evaluations is {config.evaluation.evaluations}; a trial of {config.optimization.updates} updates can't "
            "be evaluated more often than it is updated"
        )
    if offline:  # a base model that is not there is what the check is to tell
        evaluation_spaces(config)
    else:
        check(config)


def _machines(options: argparse.Namespace) -> tuple[int, float, int]:
    """Workers of a trial, and GPUs and CPUs of each."""
    import torch

    there = torch.cuda.is_available()
    workers = options.workers_per_trial if options.workers_per_trial is not None else int(there)
    gpus = options.gpus_per_worker if options.gpus_per_worker is not None else float(there)
    check_gpus(max(1, workers), gpus)
    return workers, gpus, options.cpus_per_worker or (4 if gpus else 1)
