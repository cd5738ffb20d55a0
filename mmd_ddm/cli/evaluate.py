"""Score a model beside its base model and real images: KID with its standard error, FID and more, at several budgets.

For a finetuned model its base model is scored too, with the same sampler at the same budgets and at 20 and 50. The row
`real` is the floor: random halves of the real images against each other, their KID with its deviation over splits, and
their FID, which is biased upwards as it is from fewer images. With several seeds, scores are means with the half-width
of their 95 % interval over seeds (Student's t). No image is written to disk.

  mmd-ddm evaluate --model runs/finetuned/model --steps 5,10
  mmd-ddm evaluate --sampler all --steps 5,10,15,20 --curve curve.png    # or names joined by commas
  mmd-ddm evaluate --model M --dataset cifar10 --images 50000 --seeds 3 --workers 4 \\
      --measures kid,fid,is,sfid,precision_recall,nn_auc
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmd_ddm.cli.options import add_image_options, add_model_options, add_speed_options, add_weights_option
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import flat
from mmd_ddm.evaluation.names import parse_measures
from mmd_ddm.experiment.scoring.model_record import model_folder, read_record
from mmd_ddm.experiment.scoring.scored_config import scored_config
from mmd_ddm.experiment.scoring.scored_model import Scored


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, against what, at which budgets."""
    measures = "kid, fid, precision_recall, nn_auc, is, sfid; the last two need inception's weights [kid,fid]"
    add_model_options(parser)
    add_speed_options(parser)
    add_image_options(parser)
    add_weights_option(parser)
    add = parser.add_argument
    add("--base", metavar="M", help="base model to compare with, or none [the finetuned model's own]")
    add("--steps", metavar="S,S,...", help="budgets, joined by commas [what it was finetuned for]")
    add("--images", type=int, default=5000, metavar="N", help="generated images a row [5000]")
    add("--seeds", type=int, default=1, metavar="K", help="seeds of the noise, from --seed on [1]")
    add("--features", metavar="NAME+...", help="feature spaces, joined by + [as finetuned, or the data set's]")
    add("--measures", default="kid,fid", metavar="NAME,...", help=measures)
    add("--per-class", action="store_true", help="also KID of each class of a class-conditional model")
    add("--workers", type=int, default=1, metavar="W", help="processes that share the work [1]")
    add("--json", type=Path, metavar="FILE", help="also write all scores to a file, as they come")
    add("--curve", type=Path, metavar="FILE", help="also draw KID against network evaluations")


def execute(options: argparse.Namespace) -> None:
    """Evaluate and print a table."""
    for file in filter(None, (options.json, options.curve)):
        if file.is_dir():
            raise UserError(f"{file} is a folder; name a file")
        file.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the scores are computed
    if options.curve and options.curve.suffix.lower() != ".png":
        raise UserError(f"--curve is {options.curve}; figures are PNG files, so name one that ends in .png")
    if options.seeds < 1:
        raise UserError(f"--seeds is {options.seeds}; it must be at least 1")
    same = (
        "base", "dataset", "data", "resolution", "features", "sampler", "schedule", "eta", "variance",
        "guidance_scale", "images",
        "measures", "per_class", "workers", "precision", "compile",
    )  # fmt: skip
    asked = {name: getattr(options, name) for name in same}
    seeds = range(options.seed, options.seed + options.seeds)
    steps = _budgets(options.steps)
    folder = model_folder(options.model)
    record = read_record(folder)
    if options.weights is None:
        record.origins.use_weights()
    images, measures = (options.dataset, options.data, options.resolution), parse_measures(options.measures)
    scored_config(record, folder, images, options.features, measures)  # refuses what there is not
    from mmd_ddm.experiment.scoring.evaluate import evaluate  # PyTorch, for which what is refused above need not wait
    from mmd_ddm.experiment.scoring.table import class_table, curve_points, floors, table, verdicts  # SciPy, a second

    results = evaluate(options.model, steps=steps, seeds=seeds, file=options.json, show=_show, **asked)
    print(table(results))
    if (by_class := class_table(results)) is not None:
        print(f"\nKID by class\n\n{by_class}")
    trained = record.trained_spaces
    for sentence in verdicts(results, trained) if trained else []:
        print(f"\n{sentence}")
    if options.curve:
        from mmd_ddm.evaluation.figures.curve import save_curve  # as does matplotlib

        print(f"\ncurve: {save_curve(curve_points(results), floors(results), options.curve)}")


def _budgets(text: str | None) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise UserError(f"--steps is {text!r}; write whole numbers joined by commas, as in 5,10,20") from None


def _show(result: Scored) -> None:
    told = "  ".join(f"{name} {value:.5g}" for name, value in flat(result.metrics).items())
    of = f"{result.model.role} {result.model.sampler.sampler} {result.nfe}" if result.model else "real"
    print(f"{of}, seed {result.seed}: {told}", file=sys.stderr, flush=True)
