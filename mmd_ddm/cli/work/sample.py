"""Images of a model, sampled and written as PNG files."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mmd_ddm.evaluation.evaluator import to_uint8
from mmd_ddm.evaluation.figures.sheets import save_sheet
from mmd_ddm.experiment.inference.sample import choose_sampler, sample_batches
from mmd_ddm.experiment.inference.sample_folder import NAME, RECORD, SHEET, own_files
from mmd_ddm.experiment.room import check_disk
from mmd_ddm.files import write_json

SHOWN = 256  # images on the sheet


def run(folder: Path, options: argparse.Namespace) -> None:
    """Sample the model in a folder, write the images, and tell where they are."""
    output: Path = options.output
    check_disk(options.images, output)
    how = {name: getattr(options, name) for name in ("sampler", "schedule", "eta", "variance", "steps")}
    sampler = choose_sampler(folder, **how)
    written, shown = 0, list[Tensor]()
    for images in sample_batches(folder, sampler, options.images, options.seed, options.precision, options.compile):
        if not written:
            for file in own_files(output):
                file.unlink(missing_ok=True)
            # before the images: what an interrupted sample leaves is known as its own
            asked = {name: getattr(options, name) for name in ("model", *how, "seed", "images", "precision", "compile")}
            write_json(output / RECORD, asked)
        for i, pixels in enumerate(to_uint8(images), written):
            Image.fromarray(pixels.movedim(0, 2).squeeze(2).numpy()).save(output / NAME.format(i))
        shown += [images] if written < SHOWN else []
        written += len(images)
    sheet = save_sheet(torch.cat(shown)[:SHOWN], output / SHEET)
    print(f"{written} images with {len(sampler.timesteps)} network evaluations each: {output} ({sheet.name})")
