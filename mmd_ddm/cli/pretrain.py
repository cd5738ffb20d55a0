"""Train the small networks that a data set needs: a base model (Ho et al. 2020) or a feature space.

The base model and the two feature spaces that ship with digits were made by this command with its defaults, the base
model digits_conditional with --conditional --updates 4000.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmd_ddm.cli.options import add_image_options, image_options
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.errors import UserError
from mmd_ddm.features.trained.recipes import RECIPES
from mmd_ddm.features.trained.weights import DIGITS, PICTURES, TRAINED, weights_file
from mmd_ddm.pretrained.recipes import PRECISIONS, PREDICTIONS, SCORE_IMAGES, SCORINGS, TINY, settings_for

BASE = "base"
_PICTURE = 16  # pixels, of which the defaults are told
_FASTER = "bf16 where the device multiplies it, else fp32"
_OF_ALL, _OF_SPACES = ("updates", "batch", "learning_rate"), ("width", "dim", "mirror", "test")
_OF_BASE = ("channels", "layers", "ema", "warmup", "clip", "precision", "dropout", "prediction", "conditional")
_OF_SCORES = ("scorings", "score_features", "score_images")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long."""
    what = "base (the diffusion model), classifier or contrastive [base]"
    channels = "of base: width at each resolution, from the image's downwards"
    add_image_options(parser)
    add = parser.add_argument
    add("--what", default=BASE, metavar="NAME", help=what)
    add("--output", type=Path, help="folder of the result [runs/pretrained-DATASET-WHAT]")

    def setting(name: str, text: str, **how: Any) -> None:
        add(f"--{name.replace('_', '-')}", help=f"{text} [{_defaults(name)}]", **how)

    setting("updates", "optimizer updates", type=int, metavar="N")
    setting("batch", "images an update", type=int, metavar="N")
    rate = "at the start; of Adam, or of Muon for spaces of pictures"
    setting("learning_rate", rate, type=float, metavar="R")
    setting("channels", channels, type=_widths, metavar="C,C,...")
    setting("layers", "of base: residual blocks a resolution", type=int, metavar="L")
    setting("ema", "of base: decay of the average of the weights, which is what is kept", type=float, metavar="R")
    setting("warmup", "of base: updates over which the learning rate rises", type=int, metavar="N")
    setting("clip", "of base: largest norm of an update's gradient", type=float, metavar="R")
    setting("precision", "of base: fp32, or bf16 inside the network", choices=PRECISIONS)
    setting("dropout", "of base: probability that a unit is dropped in training", type=float, metavar="P")
    setting("prediction", "of base: what the network predicts", choices=PREDICTIONS)
    told = "of base: tell the network the class of an image, which the data set's labels name [off]"
    add("--conditional", action="store_true", default=None, help=told)
    add("--scorings", type=int, metavar="N", help=f"of base: how many times it is scored on the way [{SCORINGS}]")
    add("--score-features", metavar="A+B", help="of base: feature spaces of the scores [those on this machine]")
    add("--score-images", type=int, metavar="N", help=f"of base: images generated for a scoring [{SCORE_IMAGES}]")
    setting("width", "of a feature space's network, in eights", type=int, metavar="W")
    setting("dim", "of a feature space: its number of features", type=int, metavar="D")
    mirror = "of a feature space: show mirror images too [where the data set has them]"
    add("--mirror", action="store_true", default=None, help=mirror)
    test = "of a feature space: other images, to measure its accuracy on [a part that is held out]"
    add("--test", metavar="PATH", help=test)
    add("--seed", type=int, default=0, metavar="N", help="seed of all random numbers [0]")


def _defaults(name: str) -> str:
    """Values of a setting where it is not given, in words: of images of 16 x 16, then of those of digits."""
    usual: dict[str, object] = {**TINY}
    pictures = {**usual, **settings_for(_PICTURE, bfloat16=False), "precision": _FASTER}
    of_base = [str(_value(values[name])) for values in (pictures, usual)] if name in usual else []
    of_spaces = [
        ", ".join(f"{_value(getattr(RECIPES[kind, what], name))} ({what})" for what in TRAINED)
        for kind in (PICTURES, DIGITS)
        if name in _OF_ALL or name in _OF_SPACES
    ]
    both = [", ".join(filter(None, each)) for each in zip_longest(of_base, of_spaces)]
    return both[0] if both[0] == both[1] else f"{both[0]}; of digits' size: {both[1]}"


def _value(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def execute(options: argparse.Namespace) -> None:
    """Train and save."""
    spec = dataset_spec(*image_options(options))
    folder = options.output or Path("runs") / f"pretrained-{spec.name}-{options.what}"
    of_base = options.what == BASE
    own, others = (_OF_BASE, _OF_SPACES) if of_base else (_OF_SPACES, (*_OF_BASE, *_OF_SCORES))
    for name in others:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} has no meaning for --what {options.what}; leave it out")
    if (folder if of_base else weights_file(folder, spec.name, options.what)).exists():
        raise UserError(f"{folder} exists already; name another --output")
    given = {name: value for name in (*_OF_ALL, *own) if (value := getattr(options, name)) is not None}
    from mmd_ddm.cli.work.pretrain import train_base, train_space  # PyTorch

    (train_base if of_base else train_space)(spec, folder, options, given)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--channels is {text!r}; write widths joined by commas, as in 64,128,128") from None
