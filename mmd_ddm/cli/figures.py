"""Draw what a finetuned model makes: samples, nearest real images, and the way from one noise to another.

samples.png        the base and the finetuned model from the same noise with the same budget, the base model with a
                   large one, and real images
neighbours.png     generated images with their five nearest real images (paper, Figures 3 and 8)
distances.png      the distances to the nearest real image, of all models and of the real images themselves
interpolation.png  the images on the way from one noise to another (paper, Equation 8, Figures 9 and 10)
figures.json       how near the images come to the training images, in numbers: whether the model overfits

Data set, base model and feature space are those of the finetuning, the space one that it held out, where none is named.
The images are those that `evaluate` scores with the same seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.cli.image_options import add_image_options, add_weights_option
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from mmd_ddm.experiment.config import Config
    from mmd_ddm.experiment.inference.drawing import Kept
    from mmd_ddm.experiment.scoring.model_record import ModelRecord

NO_BASE = "none"
LARGE = 50  # network evaluations with which the base model shows what it can


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which models, against what, where to."""
    model = "diffusers folder, hub id or MLflow address"
    parser.add_argument("--model", default="digits", metavar="M", help=f"{model}, or the shipped digits [digits]")
    parser.add_argument("--base", metavar="M", help=f"base model, or {NO_BASE} [what the model was finetuned from]")
    add_image_options(parser)
    add_weights_option(parser)
    parser.add_argument("--steps", type=int, metavar="S", help="network evaluations an image [as finetuned, or 50]")
    parser.add_argument(
        "--large", type=int, default=LARGE, metavar="S", help=f"larger budget of the base model, 0: none [{LARGE}]"
    )
    parser.add_argument(
        "--features", metavar="NAME", help="feature space of the distances [one that was not trained on, if there is]"
    )
    parser.add_argument("--images", type=int, default=500, metavar="N", help="generated images for the numbers [500]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise [0]")
    parser.add_argument("--output", type=Path, default=Path("runs/figures"), help="folder of the files [%(default)s]")
    parser.add_argument("--mlflow", action="store_true", help="record in MLflow (MLFLOW_TRACKING_URI, or ./mlflow.db)")


def execute(options: argparse.Namespace) -> None:
    """Sample, draw, measure and tell."""
    from mmd_ddm.experiment.build import Parts
    from mmd_ddm.experiment.inference.compared import models_to_compare
    from mmd_ddm.experiment.inference.drawing import SHOWN, Drawing, draw
    from mmd_ddm.experiment.scoring.model_record import find_base, model_folder, read_record

    if options.images < SHOWN:
        raise UserError(f"--images is {options.images}; it must be at least {SHOWN}, since as many are drawn")
    if options.large < 0:
        raise UserError(f"--large is {options.large}; it must be 0, for none, or more")
    folder = model_folder(options.model)
    record = read_record(folder)
    config = _config(options, folder, record)
    base = find_base(record, options.base)
    parts = Parts(config)
    models = models_to_compare(
        parts, record, base=base, steps=options.steps, large=options.large, images=options.images
    )
    options.output.mkdir(parents=True, exist_ok=True)
    about: dict[str, object] = {
        "model": str(folder), "base": base and str(base), "dataset": config.dataset, "steps": models[0].evaluator.nfe,
        "features": config.scoring.score_features, "images": options.images, "seed": options.seed,
    }  # fmt: skip
    with _recorded(options, about) as kept:
        draw(Drawing(parts, models, options.output, _space_in_words(config, record), kept), about)
    print("\n".join(["", *(str(file) for file in kept.files)]))


def _config(options: argparse.Namespace, folder: Path, record: ModelRecord) -> Config:
    """The data set that is asked for, or else the finetuned model's, and the feature space of the distances."""
    from mmd_ddm.data.catalogue import dataset_spec
    from mmd_ddm.experiment.presets import preset

    which = record.images(options.dataset, options.data, options.resolution)
    space = options.features
    if space is None:
        known = dataset_spec(*which).feature_spaces
        space = next((name for name in known if name not in record.trained_spaces), known[0])
    elif "+" in space:
        raise UserError(f"--features is {space!r}; name one space, since distances are measured in one")
    # the models bring their own budgets; one step is what every model can have
    return preset("paper", *which, space).replace(base_model=str(folder), seed=options.seed, steps=1)


def _space_in_words(config: Config, record: ModelRecord) -> str:
    space, trained = config.scoring.score_features, record.trained_spaces
    return f"{space} features{'' if not trained else ' (trained on)' if space in trained else ' (held out)'}"


def _short(model: str) -> str:
    """A model's name, which of a run is that of its folder."""
    from mmd_ddm.experiment.run_folder import MODEL

    path = Path(model)
    return path.resolve().parent.name if path.name == MODEL and path.is_dir() else model


@contextmanager
def _recorded(options: argparse.Namespace, about: dict[str, object]) -> Iterator[Kept]:
    """Record figures and numbers as a run of their own in MLflow, if that is wanted."""
    from mmd_ddm.experiment.inference.drawing import Kept

    kept = Kept()
    if not options.mlflow:
        yield kept
        return
    from mmd_ddm.experiment.tracking.store import ui_command
    from mmd_ddm.experiment.tracking.tracker import Tracker

    tracker = Tracker(f"mmd-ddm {about['dataset']}")
    tracker.check()
    with tempfile.TemporaryDirectory() as spool:  # the output folder may hold another run's
        run = tracker.follow(
            Path(spool),
            name=f"figures of {_short(options.model)}",
            description="",
            params=about,
            tags={"kind": "figures"},
        )
        try:
            yield kept
            run.close("FINISHED", artifacts=[(file, "figures") for file in kept.files], metrics=kept.metrics)
        except BaseException as error:
            run.close("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", {"reason": str(error)})
            raise
        finally:
            if tracker.close():
                print("MLflow has not taken all of it; the files are complete, so try again later")
    print(f"see them with: {ui_command()}")
