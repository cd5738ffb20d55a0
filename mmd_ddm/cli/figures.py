"""Draw what a finetuned model makes: samples, nearest real images, and the way from one noise to another.

samples.png        the base and the finetuned model from the same noise with the same budget, the base model with a
                   large one, and real images
neighbours.png     generated images with their five nearest real images (paper, Figures 3 and 8)
distances.png      the distances to the nearest real image, of all models and of the real images themselves
interpolation.png  the images on the way from one noise to another (paper, Equation 8, Figures 9 and 10)
classes.png        of a class-conditional model: images of each class (of 20 at most) beside real ones
noise_levels.png   of a model whose sampler was learned: where its noise levels were, are, and what the network is told
figures.json       how near the images come to the training images, in numbers: whether the model overfits

Data set, base model and feature space are those of the finetuning, the space one that it held out, where none is named.
The images are those that `evaluate` scores with the same seed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.cli.options import add_image_options, add_weights_option
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.default_spaces import with_spaces
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.scoring.model_record import ModelRecord, model_folder, read_record
from mmd_ddm.pretrained.record import budget_folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which models, against what, where to."""
    model = "diffusers folder, hub id or MLflow address, or the shipped digits [digits]"
    add = parser.add_argument
    add("--model", default="digits", metavar="M", help=model)
    add("--base", metavar="M", help="base model, or none [what the model was finetuned from]")
    add_image_options(parser)
    add_weights_option(parser)
    add("--steps", type=int, metavar="S", help="network evaluations an image [as finetuned, or 50]")
    add("--large", type=int, default=50, metavar="S", help="larger budget of the base model, 0: none [50]")
    add("--features", metavar="NAME", help="feature space of the distances [one that was not trained on, if there is]")
    add("--images", type=int, default=500, metavar="N", help="generated images for the numbers [500]")
    add("--seed", type=int, default=0, metavar="N", help="of the noise [0]")
    add("--output", type=Path, default=Path("runs/figures"), help="folder of the files [%(default)s]")
    add("--mlflow", action="store_true", help="record in MLflow (MLFLOW_TRACKING_URI, or ./mlflow.db)")


def execute(options: argparse.Namespace) -> None:
    """Sample, draw, measure and tell."""
    if options.large < 0:
        raise UserError(f"--large is {options.large}; it must be 0, for none, or more")
    folder = budget_folder(model_folder(options.model), options.steps)
    record = read_record(folder)
    if options.weights is None:
        record.origins.use_weights()
    config = _config(options, folder, record)
    from mmd_ddm.cli.work.figures import run  # PyTorch

    run(config, folder, record, options)


def _config(options: argparse.Namespace, folder: Path, record: ModelRecord) -> Config:
    """The data set that is asked for, or else the finetuned model's, and the feature space of the distances."""
    which = record.images(options.dataset, options.data, options.resolution)
    space = options.features
    if space is None:
        named = record.scored_spaces(which)
        known = tuple(named.split("+")) if named else with_spaces(dataset_spec(*which)).feature_spaces
        space = next((name for name in known if name not in record.trained_spaces), known[0])
    elif "+" in space:
        raise UserError(f"--features is {space!r}; name one space, since distances are measured in one")
    # the models bring their own budgets; one step is what every model can have
    name = record.config.name if record.config is not None and which == record.images(None, None, None) else None
    return preset("paper", *which, space).replace(name=name, base_model=str(folder), seed=options.seed, steps=1)
