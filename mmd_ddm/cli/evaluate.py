"""Score a model beside its base model and real images: KID with its standard error, FID and more, at several budgets.

For a finetuned model its base model is scored too, with the same sampler at the same budgets and at 20 and 50. The row
`real` is the floor: random halves of the real images against each other, their KID with its deviation over splits, and
their FID, which is biased upwards as it is from fewer images. With several seeds, scores are means with the half-width
of their 95 % interval over seeds (Student's t). No image is written to disk.

  mmd-ddm evaluate --model runs/finetuned/model --steps 5,10
  mmd-ddm evaluate --sampler all --steps 5,10,15,20 --curve curve.png    # or names joined by commas
  mmd-ddm evaluate --model M --dataset cifar10 --images 50000 --seeds 3 --workers 4 \\
      --measures kid,fid,is,sfid,precision_recall,closeness
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmd_ddm.cli.compared import base_of, record_of
from mmd_ddm.cli.image_options import add_image_options, add_weights_option, image_options
from mmd_ddm.cli.model_options import DEFAULT_STEPS, add_model_options, model_folder
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from mmd_ddm.experiment.config import Config
    from mmd_ddm.experiment.scoring import Result, Subject

LARGER = (20, 50)  # budgets of the base model to compare a finetuned one with
ALL = "all"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, against what, at which budgets."""
    add_model_options(parser)
    add_image_options(parser)
    add_weights_option(parser)
    parser.add_argument("--base", metavar="M", help="base model to compare with, or none [the finetuned model's own]")
    parser.add_argument("--steps", metavar="S,S,...", help="budgets, joined by commas [what it was finetuned for]")
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="generated images a row [5000]")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="seeds of the noise, from --seed on [1]")
    parser.add_argument("--features", metavar="NAME+...", help="feature spaces, joined by + [the data set's]")
    parser.add_argument(
        "--measures", default="kid,fid", metavar="NAME,...",
        help="kid, fid, precision_recall, closeness, is, sfid; the last two need inception's weights [kid,fid]",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, metavar="W", help="processes that share the work [1]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all scores to a file, as they come")
    parser.add_argument("--curve", type=Path, metavar="FILE", help="also draw score against evaluations, as PNG")


def execute(options: argparse.Namespace) -> None:
    """Evaluate and print a table."""
    from mmd_ddm.evaluation.metrics import parse_measures, spaces_of
    from mmd_ddm.experiment.build import dataset_of, evaluation_spaces, obtain
    from mmd_ddm.experiment.distributed.processes import in_processes
    from mmd_ddm.experiment.presets import preset
    from mmd_ddm.experiment.scoring import Evaluation, read_results
    from mmd_ddm.pretrained.load import check_fits, unet_config

    for name, least in (("images", 4), ("seeds", 1), ("workers", 1)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be at least {least}")
    if not 0 <= options.seed <= 2**32 - options.seeds:
        raise UserError(f"--seed is {options.seed}; it must be a whole number from 0 to {2**32 - options.seeds}")
    if options.eta is not None and not 0 <= options.eta <= 1:
        raise UserError(f"--eta is {options.eta}; it must be a number from 0 to 1")
    if options.eta and options.sampler not in (None, ALL) and "ddim" not in options.sampler.split(","):
        raise UserError(f"--eta is {options.eta}, but it belongs to sampler ddim; leave it out with {options.sampler}")
    measures = parse_measures(options.measures)
    folder = model_folder(options.model)
    config = preset("paper", *image_options(options), options.features).replace(base_model=str(folder))
    config = config.replace(evaluation_features="+".join((*evaluation_spaces(config), *spaces_of(measures))))
    record = record_of(folder)
    subjects = _subjects(options, folder, record)
    for file in (options.json, options.curve):
        if file and file.is_dir():
            raise UserError(f"{file} is a folder; name a file")
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the scores are computed
    check_fits(unet_config(folder), dataset_of(config))
    obtain(config)
    with tempfile.TemporaryDirectory() as scratch:
        file = options.json or Path(scratch) / "scores.json"
        seeds = tuple(range(options.seed, options.seed + options.seeds))
        work = Evaluation(config.flat(), tuple(subjects), options.images, seeds, measures, str(file), _show)
        in_processes(work, options.workers)
        results = read_results(file)
    _tell(results, config, record, options)


def _subjects(options: argparse.Namespace, folder: Path, record: dict[str, Any]) -> list[Subject]:
    from mmd_ddm.experiment.scoring import BASE, FINETUNED

    budgets = _budgets(options.steps) or [int(record.get("steps", DEFAULT_STEPS))]
    found = _of_model(options, FINETUNED if record else BASE, folder, budgets)
    base = base_of(record, options.base)
    if base is not None:
        larger = [steps for steps in LARGER if steps > max(budgets)]
        found += _of_model(options, BASE, base, [*budgets, *larger], record)
    return found


def _of_model(
    options: argparse.Namespace, model: str, folder: Path, budgets: list[int], record: dict[str, Any] | None = None
) -> list[Subject]:
    """The subjects of one model; refuses what it can't be sampled with, but of `all` samplers takes those that can.

    Args:
        options: of the command.
        model: what it is called.
        folder: its own.
        budgets: network evaluations.
        record: of the finetuned model that a base model stands beside: it is sampled alike.
    """
    from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
    from mmd_ddm.experiment.scoring import ALL_SAMPLERS, Subject, possible
    from mmd_ddm.pretrained.load import scheduler_config
    from mmd_ddm.pretrained.record import sampling_settings

    own = sampling_settings(folder)
    config = (record or {}).get("config", {})
    if record:
        own |= {key: record[key] for key in ("sampler", "eta", "variance")}
    asked = options.sampler or own["sampler"]
    names = ALL_SAMPLERS if asked == ALL else asked.split(",")
    levels = NoiseSchedule.from_scheduler_config(scheduler_config(folder))
    # timesteps that the finetuned model has within itself its base model is told
    schedule = config.get("schedule", "linear") if options.schedule == "linear" else options.schedule
    # a stride makes more evaluations than it is asked for
    wanted = [config.get("steps", steps) if record and steps == record["steps"] else steps for steps in budgets]
    subjects = []
    for name in names:
        settings = {**own, "eta": own["eta"] if options.eta is None else options.eta}
        alike = settings if name == own["sampler"] else {"eta": options.eta or 0.0, "variance": "model"}
        how = {"schedule": schedule, "eta": alike["eta"] if name == "ddim" else 0.0, "variance": alike["variance"]}
        subjects += [Subject(model, str(folder), name, steps, how) for steps in wanted]
    if options.sampler == ALL:
        return possible(subjects, levels)
    for subject in subjects:
        subject.make(levels)
    return subjects


def _budgets(text: str | None) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise UserError(f"--steps is {text!r}; write whole numbers joined by commas, as in 5,10,20") from None


def _show(result: Result) -> None:
    told = "  ".join(f"{name} {value:.5g}" for name, value in result.scores.items())
    of = f"{result.subject.model} {result.subject.sampler} {result.evaluations}" if result.subject else "real"
    print(f"{of}, seed {result.seed}: {told}", file=sys.stderr, flush=True)


def _tell(results: list[Result], config: Config, record: dict[str, Any], options: argparse.Namespace) -> None:
    from mmd_ddm.experiment.evaluation_table import curve_points, floors, table, verdicts

    print(table(results))
    trained = record.get("config", {}).get("features")
    for sentence in verdicts(results, trained) if trained else []:
        print(f"\n{sentence}")
    if options.curve:
        from mmd_ddm.evaluation.figures.curve import save_curve  # matplotlib takes a second

        print(f"\ncurve: {save_curve(curve_points(results), floors(results), options.curve)}")
