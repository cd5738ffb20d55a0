"""The training of a base model or a feature space, from its options to its files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmd_ddm.cli.options import image_options
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.load import load_dataset
from mmd_ddm.data.readers.open import absolute
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.diffusion.names import FLOW_SCHEDULE
from mmd_ddm.experiment.build import default_device
from mmd_ddm.experiment.pretraining import open_scores
from mmd_ddm.experiment.room import check_batch
from mmd_ddm.features.trained.quality import weakness
from mmd_ddm.features.trained.training import train_feature_space
from mmd_ddm.features.trained.weights import read_trained, weights_file
from mmd_ddm.pretrained.pretrain import pretrain
from mmd_ddm.pretrained.recipes import FLOW, SCORINGS, settings_for
from mmd_ddm.training import has_bfloat16


def train_base(spec: DatasetSpec, folder: Path, options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Train a base model, scored on its way, with what is given in place of the defaults."""
    dataset, common = _begin(spec, options)
    asked = {"updates": options.updates} if options.updates else {}
    usual = settings_for(dataset.image_shape[1], has_bfloat16(default_device()), **asked)
    settings = {**common, **usual, **given}
    scorings = SCORINGS if options.scorings is None else options.scorings
    if not scorings:
        loss = pretrain(dataset, folder, **settings)
    else:
        wanted = {"features": options.score_features, "images": options.score_images}
        named = {name: value for name, value in wanted.items() if value is not None}
        named |= {"schedule": FLOW_SCHEDULE} if settings.get("prediction") == FLOW else {}
        scores = open_scores(*image_options(options), folder, seed=options.seed, **named)
        loss = pretrain(dataset, folder, scorings=scorings, score=scores.look, **settings)
        scores.conclude(folder)
    print(f"base model: {folder} (loss {loss:.4f})")


def train_space(spec: DatasetSpec, folder: Path, options: argparse.Namespace, given: dict[str, Any]) -> None:
    """Train a feature space, with what is given in place of its recipe."""
    dataset, common = _begin(spec, options)
    if options.test:
        given["test"] = load_dataset(dataset_spec(dataset.name, options.test, options.resolution))
    source = options.data and absolute(options.data)
    figures = train_feature_space(dataset, options.what, folder, source=source, **common, **given)
    told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    print(f"feature space {options.what}: {folder} ({told})")
    if weak := weakness(read_trained(weights_file(folder, dataset.name, options.what))):
        print(weak, file=sys.stderr)


def _begin(spec: DatasetSpec, options: argparse.Namespace) -> tuple[ImageSet, dict[str, Any]]:
    """The images, and what both trainings are told."""
    dataset = load_dataset(spec)
    check_batch(options.batch or 0, dataset.image_shape, default_device())
    return dataset, {"seed": options.seed, "device": str(default_device())}
