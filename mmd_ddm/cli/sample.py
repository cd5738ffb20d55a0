"""Sample images from a finetuned or pretrained diffusion model, with its own sampler and budget.

The noise is drawn as diffusers draws it, whatever the number of images: one generator with the seed, all images at
once. So DDIMPipeline.from_pretrained(MODEL)(batch_size=N, num_inference_steps=S, generator=torch.manual_seed(SEED))
gives the same images, to rounding.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mmd_ddm.cli.options import add_model_options
from mmd_ddm.data.readers.folder import image_extensions
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import to_uint8
from mmd_ddm.evaluation.figures.sheets import save_sheet
from mmd_ddm.experiment.inference.sample import choose_sampler, sample_batches
from mmd_ddm.experiment.room import check_disk
from mmd_ddm.experiment.scoring.model_record import model_folder
from mmd_ddm.files import write_json
from mmd_ddm.records import read_record

SHOWN = 256  # images on the sheet
SHEET, RECORD, NAME = "sheet.png", "sample.json", "{:06d}.png"
_OWN = re.compile(r"(\d{6,12})\.png")  # images by `NAME`


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, how many images, where to."""
    output = "folder of N PNG files and a sheet; those of an earlier sample are replaced [%(default)s]"
    add_model_options(parser)
    add = parser.add_argument
    add("--steps", type=int, metavar="S", help="network evaluations an image [what it was finetuned for]")
    add("--images", type=int, default=64, metavar="N", help="how many [64]")
    add("--output", type=Path, default=Path("runs/samples"), help=output)


def execute(options: argparse.Namespace) -> None:
    """Sample and write PNG files."""
    output: Path = options.output
    _check(output)
    check_disk(options.images, output)
    folder = model_folder(options.model)
    how = {name: getattr(options, name) for name in ("sampler", "schedule", "eta", "variance", "steps")}
    sampler = choose_sampler(folder, **how)
    written, shown = 0, list[Tensor]()
    for images in sample_batches(folder, sampler, options.images, options.seed):
        if not written:
            for file in _own(output):
                file.unlink(missing_ok=True)
            # before the images: what an interrupted sample leaves is known as its own
            asked = {name: getattr(options, name) for name in ("model", *how, "seed", "images")}
            write_json(output / RECORD, asked)
        for i, pixels in enumerate(to_uint8(images), written):
            Image.fromarray(pixels.movedim(0, 2).squeeze(2).numpy()).save(output / NAME.format(i))
        shown += [images] if written < SHOWN else []
        written += len(images)
    sheet = save_sheet(torch.cat(shown)[:SHOWN], output / SHEET)
    print(f"{written} images with {len(sampler.timesteps)} network evaluations each: {output} ({sheet.name})")


def _check(folder: Path) -> None:
    """Refuse a folder with images, or folders of them, that no earlier sample has written."""
    there = [each for each in folder.iterdir() if not each.name.startswith(".")] if folder.is_dir() else []
    images = {each.name for each in there if each.is_dir() or each.suffix.lower() in image_extensions()}
    if foreign := sorted(images - {file.name for file in _own(folder)}):
        raise UserError(
            f"{folder} holds other images ({foreign[0]}, {len(foreign)} in all), and they would be mixed with the new "
            "ones; name another --output"
        )


def _own(folder: Path) -> list[Path]:
    """The files of an earlier sample, as its record has them."""
    if not (folder / RECORD).exists():
        return []
    images = read_record(folder / RECORD, "remove the folder or name another --output").whole("images")
    there = (file for file in folder.glob("*.png") if (match := _OWN.fullmatch(file.name)) and int(match[1]) < images)
    return [folder / SHEET, *there]
