"""The options that name a model and how it samples, shared by `evaluate` and `sample`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from mmd_ddm.evaluation.evaluator import Sampler

DEFAULT_STEPS = 50  # of a model that was not finetuned for a budget


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, its sampler, and the seed of the noise."""
    from mmd_ddm.diffusion.baselines import BASELINES
    from mmd_ddm.diffusion.samplers import SAMPLERS

    parser.add_argument(
        "--model",
        default="digits",
        metavar="M",
        help="diffusers folder, hub id, MLflow address (runs:/ID, models:/NAME/VERSION or models:/NAME@ALIAS), or "
        "digits: the shipped model [digits]",
    )
    others = ", ".join(name for name in BASELINES if name not in SAMPLERS)
    parser.add_argument(
        "--sampler", metavar="NAME", help=f"ddim or ddpm, or to compare with: {others} [as finetuned, or ddim]"
    )
    parser.add_argument("--schedule", default="linear", metavar="NAME", help="linear, quadratic or stride [linear]")
    parser.add_argument("--eta", type=float, metavar="E", help="noise of ddim, 0 to 1 [as finetuned, or 0]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise [0]")


def model_folder(source: str) -> Path:
    """The folder of a model that --model names, downloaded if need be.

    Raises:
        UserError: there is none.
    """
    from mmd_ddm.experiment.tracking.model_uri import resolve
    from mmd_ddm.pretrained.load import locate

    return locate(resolve(source))


def chain_of(folder: Path, options: argparse.Namespace, steps: int | None) -> Sampler:
    """The chain of a model folder: as it was finetuned, changed by the options; or a sampler to compare with.

    Raises:
        UserError: the settings are out of range for the model.
    """
    from mmd_ddm.diffusion.baselines import BASELINES, make_baseline
    from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
    from mmd_ddm.diffusion.samplers import SAMPLERS, make_chain
    from mmd_ddm.pretrained.load import scheduler_config
    from mmd_ddm.pretrained.record import sampling_settings

    if not 0 <= options.seed < 2**32:
        raise UserError(f"--seed is {options.seed}; it must be a whole number from 0 to {2**32 - 1}")
    settings = {"steps": DEFAULT_STEPS, **sampling_settings(folder)}
    asked = {"steps": steps, "sampler": options.sampler, "eta": options.eta}
    settings.update({key: value for key, value in asked.items() if value is not None})
    name = settings["sampler"]
    if not 0 <= settings["eta"] <= 1:
        raise UserError(f"--eta is {settings['eta']}; it must be a number from 0 to 1")
    if options.eta and name != "ddim":
        raise UserError(f"--eta is {options.eta}, but it belongs to sampler ddim; leave it out with {name}")
    schedule = NoiseSchedule.from_scheduler_config(scheduler_config(folder))
    if name in SAMPLERS:  # before baselines of the same name: these have the model's own eta and variance
        return make_chain(schedule, schedule=options.schedule, **settings)
    if name not in BASELINES:
        raise UserError(f"sampler is {name!r}; it must be one of {', '.join(dict.fromkeys((*SAMPLERS, *BASELINES)))}")
    if options.schedule != "linear":
        raise UserError(f"--schedule is {options.schedule}, but sampler {name} has timesteps of its own; leave it out")
    return make_baseline(name, schedule, settings["steps"])
