"""Train the small networks that a data set needs: a base model (Ho et al. 2020) or a feature space.

The base model and the two feature spaces that ship with digits were made by this command with its defaults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mmd_ddm.cli.options import add_image_options, image_options
from mmd_ddm.data.catalogue import dataset_spec, load_dataset
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.readers.open import absolute
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.build import default_device
from mmd_ddm.experiment.pretraining import IMAGES, SCORINGS, open_scores
from mmd_ddm.features.trained.load import read_trained, weights_file
from mmd_ddm.features.trained.quality import weakness
from mmd_ddm.features.trained.training import train_feature_space
from mmd_ddm.pretrained.pretrain import PREDICTIONS, pretrain
from mmd_ddm.pretrained.recipes import settings_for
from mmd_ddm.training import PRECISIONS

BASE = "base"
_OF_ALL, _OF_SPACES = ("updates", "batch", "learning_rate"), ("width", "dim", "mirror", "test")
_OF_BASE = ("channels", "layers", "ema", "warmup", "clip", "precision", "dropout", "prediction")
_OF_SCORES = ("scorings", "score_features", "score_images")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long."""
    what = "base (the diffusion model), classifier or contrastive [base]"
    channels = "of base: width at each resolution, from the image's downwards"
    add_image_options(parser)
    add = parser.add_argument
    add("--what", default=BASE, metavar="NAME", help=what)
    add("--output", type=Path, help="folder of the result [runs/pretrained-DATASET-WHAT]")
    add("--updates", type=int, metavar="N", help="optimizer updates")
    add("--batch", type=int, metavar="N", help="images an update")
    add("--learning-rate", type=float, metavar="R", help="at the start; of Adam, or of Muon for spaces of pictures")
    add("--channels", type=_widths, metavar="C,C,...", help=channels)
    add("--layers", type=int, metavar="L", help="of base: residual blocks a resolution")
    add("--ema", type=float, metavar="R", help="of base: decay of the average of the weights, which is what is kept")
    add("--warmup", type=int, metavar="N", help="of base: updates over which the learning rate rises")
    add("--clip", type=float, metavar="R", help="of base: largest norm of an update's gradient")
    add("--precision", choices=tuple(PRECISIONS), help="of base: fp32, or bf16 inside the network")
    add("--dropout", type=float, metavar="P", help="of base: probability that a unit is dropped in training")
    add("--prediction", choices=PREDICTIONS, help="of base: what the network predicts")
    add("--scorings", type=int, metavar="N", help=f"of base: how many times it is scored on the way [{SCORINGS}]")
    add("--score-features", metavar="A+B", help="of base: feature spaces of the scores [those on this machine]")
    add("--score-images", type=int, metavar="N", help=f"of base: images generated for a scoring [{IMAGES}]")
    add("--width", type=int, metavar="W", help="of a feature space's network, in eights")
    add("--dim", type=int, metavar="D", help="of a feature space: its number of features")
    add("--mirror", action="store_true", default=None, help="of a feature space: show mirror images too")
    add("--test", metavar="PATH", help="of a feature space: other images, to measure its accuracy on")
    add("--seed", type=int, default=0, metavar="N", help="seed of all random numbers [0]")


def execute(options: argparse.Namespace) -> None:
    """Train and save."""
    dataset = load_dataset(dataset_spec(*image_options(options)))
    folder = options.output or Path("runs") / f"pretrained-{dataset.name}-{options.what}"
    of_base = options.what == BASE
    own, others = (_OF_BASE, _OF_SPACES) if of_base else (_OF_SPACES, (*_OF_BASE, *_OF_SCORES))
    for name in others:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} has no meaning for --what {options.what}; leave it out")
    if (folder if of_base else weights_file(folder, dataset.name, options.what)).exists():
        raise UserError(f"{folder} exists already; name another --output")
    given = {name: value for name in (*_OF_ALL, *own) if (value := getattr(options, name)) is not None}
    common: dict[str, Any] = {"seed": options.seed, "device": str(default_device())}
    if of_base:
        asked = {"updates": options.updates} if options.updates else {}
        usual = settings_for(dataset.image_shape[1], default_device(), **asked)
        _base(options, dataset, folder, {**common, **usual, **given})
    else:
        if options.test:
            given["test"] = load_dataset(dataset_spec(dataset.name, options.test, options.resolution))
        source = options.data and absolute(options.data)
        figures = train_feature_space(dataset, options.what, folder, source=source, **common, **given)
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"feature space {options.what}: {folder} ({told})")
        if weak := weakness(read_trained(weights_file(folder, dataset.name, options.what))):
            print(weak, file=sys.stderr)


def _base(options: argparse.Namespace, dataset: ImageSet, folder: Path, given: dict[str, Any]) -> None:
    scorings = SCORINGS if options.scorings is None else options.scorings
    if not scorings:
        loss = pretrain(dataset, folder, **given)
    else:
        wanted = {"features": options.score_features, "images": options.score_images}
        asked = {name: value for name, value in wanted.items() if value is not None}
        scores = open_scores(*image_options(options), folder, seed=options.seed, **asked)
        loss = pretrain(dataset, folder, scorings=scorings, score=scores.look, **given)
        scores.conclude(folder)
    print(f"base model: {folder} (loss {loss:.4f})")


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--channels is {text!r}; write widths joined by commas, as in 64,128,128") from None
