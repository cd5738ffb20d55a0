"""Images of a model, sampled and written as PNG files."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from mmd_ddm.evaluation.evaluator import to_uint8
from mmd_ddm.evaluation.figures.sheets import save_sheet
from mmd_ddm.experiment.inference.sample import choose_labels, choose_sampler, sample_batches
from mmd_ddm.experiment.inference.sample_folder import LABELS, NAME, RECORD, SHEET, own_files
from mmd_ddm.experiment.room import check_disk
from mmd_ddm.files import write_json

SHOWN = 256  # images on the sheet
COLUMNS = 16  # at most, where a row is of one class


def run(folder: Path, options: argparse.Namespace) -> None:
    """Sample the model in a folder, write the images, and tell where they are."""
    output: Path = options.output
    check_disk(options.images, output)
    how = {
        name: getattr(options, name) for name in ("sampler", "schedule", "eta", "variance", "guidance_scale", "steps")
    }
    sampler = choose_sampler(folder, **how)
    labels = choose_labels(folder, options.class_labels, options.images)
    written, shown = 0, list[Tensor]()
    speed = options.precision, options.compile
    for images in sample_batches(folder, sampler, options.images, options.seed, *speed, labels):
        if not written:
            for file in own_files(output):
                file.unlink(missing_ok=True)
            # before the images: what an interrupted sample leaves is known as its own
            names = ("model", *how, "class_labels", "seed", "images", "precision", "compile")
            write_json(output / RECORD, {name: getattr(options, name) for name in names})
        for i, pixels in enumerate(to_uint8(images), written):
            Image.fromarray(pixels.movedim(0, 2).squeeze(2).numpy()).save(output / NAME.format(i))
        shown += [images] if written < SHOWN else []
        written += len(images)
    if labels is not None:
        rows = [f"{NAME.format(i)},{label}" for i, label in enumerate(labels.tolist())]
        (output / LABELS).write_text("\n".join(["file,class_label", *rows, ""]))
    sheet = _save_sheet(torch.cat(shown)[:SHOWN], labels, output / SHEET)
    print(f"{written} images with {sampler.nfe} network evaluations each: {output} ({sheet.name})")


def _save_sheet(images: Tensor, labels: Tensor | None, file: Path) -> Path:
    """Write the first images as a sheet, of a class-conditional model with a row for each of its classes."""
    if labels is None or len((shown := labels[: len(images)]).unique()) == 1:
        return save_sheet(images, file)
    of_each = min(COLUMNS, int(shown.bincount()[shown.unique()].min()))
    rows = [images[shown == label][:of_each] for label in shown.unique()]
    return save_sheet(torch.cat(rows), file, columns=of_each)
