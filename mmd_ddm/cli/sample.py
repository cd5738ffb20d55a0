"""Sample images from a finetuned or pretrained diffusion model, with its own sampler and budget.

The noise is drawn as diffusers draws it, whatever the number of images: one generator with the seed, all images at
once. So DDIMPipeline.from_pretrained(MODEL)(batch_size=N, num_inference_steps=S, generator=torch.manual_seed(SEED))
gives the same images, to rounding. Of a class-conditional model the pipeline is asked for class_labels instead of a
batch_size; labels.csv beside the images says which has which.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.cli.options import add_model_options, add_speed_options
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.scoring.model_record import model_folder
from mmd_ddm.pretrained.record import budget_folder


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how many images, where to."""
    output = "folder of N PNG files and a sheet; those of an earlier sample are replaced [%(default)s]"
    add_model_options(parser)
    add_speed_options(parser)
    add = parser.add_argument
    add("--steps", type=int, metavar="S", help="network evaluations an image [what it was finetuned for]")
    labels = "class labels joined by commas, of which the images are in turn, such as 3,7 [all of the model's]"
    add("--class-labels", "--labels", metavar="C,C,...", help=labels)
    add("--images", type=int, default=64, metavar="N", help="how many [64]")
    add("--output", type=Path, default=Path("runs/samples"), help=output)


def execute(options: argparse.Namespace) -> None:
    """Sample and write PNG files."""
    from mmd_ddm.experiment.inference.sample_folder import check_folder  # NumPy

    check_folder(options.output)
    options.class_labels = _labels(options.class_labels)
    folder = budget_folder(model_folder(options.model), options.steps)
    from mmd_ddm.cli.work.sample import run  # PyTorch

    run(folder, options)


def _labels(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--class-labels is {text!r}; write whole numbers joined by commas, as in 3,7") from None
