"""Train the small networks that a data set needs: a base model (Ho et al. 2020) or a feature space.

The base model and the two feature spaces that ship with digits were made by this command with its defaults.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.cli.image_options import add_image_options, image_options
from mmd_ddm.errors import UserError

BASE = "base"
_OF_BASE, _OF_SPACES = ("channels", "layers"), ("width", "dim")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long."""
    add_image_options(parser)
    parser.add_argument(
        "--what", default=BASE, metavar="NAME", help="base (the diffusion model), classifier or contrastive [base]"
    )
    parser.add_argument("--output", type=Path, help="folder of the result [runs/pretrained-DATASET-WHAT]")
    parser.add_argument("--updates", type=int, default=argparse.SUPPRESS, metavar="N", help="optimizer updates")
    parser.add_argument("--batch", type=int, default=argparse.SUPPRESS, metavar="N", help="images an update")
    parser.add_argument(
        "--learning-rate", type=float, default=argparse.SUPPRESS, metavar="R", help="Adam's, at the start"
    )
    parser.add_argument(
        "--channels", type=_widths, default=argparse.SUPPRESS, metavar="C,C,...",
        help="of base: width at each resolution, from the image's downwards",
    )  # fmt: skip
    parser.add_argument(
        "--layers", type=int, default=argparse.SUPPRESS, metavar="L", help="of base: residual blocks a resolution"
    )
    parser.add_argument(
        "--width", type=int, default=argparse.SUPPRESS, metavar="W", help="of a feature space's network, in eights"
    )
    parser.add_argument(
        "--dim", type=int, default=argparse.SUPPRESS, metavar="D", help="of a feature space: its number of features"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers [0]")


def execute(options: argparse.Namespace) -> None:
    """Train and save."""
    import torch

    from mmd_ddm.data.catalogue import dataset_spec, load_dataset
    from mmd_ddm.features.trained.load import weights_file
    from mmd_ddm.features.trained.training import train_feature_space
    from mmd_ddm.pretrained.pretrain import pretrain

    dataset = load_dataset(dataset_spec(*image_options(options)))
    folder = options.output or Path("runs") / f"pretrained-{dataset.name}-{options.what}"
    of_base = options.what == BASE
    for name in _OF_SPACES if of_base else _OF_BASE:
        if hasattr(options, name):
            raise UserError(f"--{name} has no meaning for --what {options.what}; leave it out")
    if (folder if of_base else weights_file(folder, dataset.name, options.what)).exists():
        raise UserError(f"{folder} exists already; name another --output")
    names = ("updates", "batch", "learning_rate", *(_OF_BASE if of_base else _OF_SPACES))
    changed = {name: getattr(options, name) for name in names if hasattr(options, name)}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if of_base:
        loss = pretrain(dataset, folder, seed=options.seed, device=device, **changed)
        print(f"base model: {folder} (loss {loss:.4f})")
    else:
        figures = train_feature_space(dataset, options.what, folder, seed=options.seed, device=device, **changed)
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        print(f"feature space {options.what}: {folder} ({told})")


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--channels is {text!r}; write widths joined by commas, as in 64,128,128") from None
