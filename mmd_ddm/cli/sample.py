"""Sample images from a finetuned or pretrained diffusion model, with its own sampler and budget.

The noise is drawn as diffusers draws it, whatever the number of images: one generator with the seed, all images at
once. So DDIMPipeline.from_pretrained(MODEL)(batch_size=N, num_inference_steps=S, generator=torch.manual_seed(SEED))
gives the same images, to rounding.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.cli.model_options import add_model_options
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SHOWN = 256  # images on the sheet
SHEET, RECORD = "sheet.png", "sample.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how many images, where to."""
    add_model_options(parser)
    parser.add_argument(
        "--steps", type=int, metavar="S", help="network evaluations an image [what it was finetuned for]"
    )
    parser.add_argument("--images", type=int, default=64, metavar="N", help="how many [64]")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("runs/samples"),
        help="folder of N PNG files and a sheet; those of an earlier sample are replaced [%(default)s]",
    )


def execute(options: argparse.Namespace) -> None:
    """Sample and write PNG files."""
    import torch

    from mmd_ddm.evaluation.figures.sheets import save_sheet
    from mmd_ddm.experiment.inference.sample import choose_sampler, sample_batches
    from mmd_ddm.experiment.scoring.model_record import model_folder

    _check_output(options.output)
    folder = model_folder(options.model)
    how = {name: getattr(options, name) for name in ("steps", "sampler", "schedule", "eta")}
    sampler = choose_sampler(folder, **how)
    written, shown = 0, []
    for images in sample_batches(folder, sampler, options.images, options.seed):
        if not written:
            _begin(options)
        _write(images, options.output, written)
        shown += [images] if written < SHOWN else []
        written += len(images)
    sheet = save_sheet(torch.cat(shown)[:SHOWN], options.output / SHEET)
    nfe = len(sampler.timesteps)
    print(f"{options.images} images with {nfe} network evaluations each: {options.output} ({sheet.name})")


def _check_output(folder: Path) -> None:
    """Refuse a folder with images that no earlier sample has written."""
    foreign = sorted({file.name for file in folder.glob("*.png")} - {file.name for file in _own(folder)})
    if foreign:
        raise UserError(
            f"{folder} holds other images ({foreign[0]}, {len(foreign)} in all), and they would be mixed with the new "
            "ones; name another --output"
        )


def _own(folder: Path) -> list[Path]:
    """The files of an earlier sample, as its record has them."""
    record = folder / RECORD
    if not record.is_file():
        return []
    try:
        images = int(json.loads(record.read_text())["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record} is damaged ({error}); remove the folder or name another --output") from None
    return [folder / SHEET, *(_file(folder, i) for i in range(images))]


def _begin(options: argparse.Namespace) -> None:
    for file in _own(options.output):
        file.unlink(missing_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    asked = ("model", "sampler", "schedule", "eta", "steps", "seed", "images")
    # before the images: what an interrupted sample leaves is known as its own
    (options.output / RECORD).write_text(json.dumps({name: getattr(options, name) for name in asked}, indent=1))


def _file(folder: Path, i: int) -> Path:
    return folder / f"{i:06d}.png"


def _write(images: Tensor, folder: Path, first: int) -> None:
    from PIL import Image

    from mmd_ddm.evaluation.evaluator import to_uint8

    for i, pixels in enumerate(to_uint8(images), first):
        array = pixels[0].numpy() if len(pixels) == 1 else pixels.permute(1, 2, 0).numpy()
        Image.fromarray(array).save(_file(folder, i))
