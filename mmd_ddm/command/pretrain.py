"""Train the small networks that a data set needs: a base model (Ho et al. 2020) or a feature space.

The base model and the two feature spaces that ship with digits were made by this command with its defaults.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmd_ddm.errors import UserError

BASE = "base"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long."""
    parser.add_argument("--dataset", default="digits", metavar="NAME", help="data set [digits]")
    parser.add_argument(
        "--what", default=BASE, metavar="NAME", help="base (the diffusion model), classifier or contrastive [base]"
    )
    parser.add_argument("--output", type=Path, help="folder of the result [runs/pretrained-DATASET-WHAT]")
    parser.add_argument("--updates", type=int, default=argparse.SUPPRESS, metavar="N", help="optimizer updates")
    parser.add_argument("--batch", type=int, default=argparse.SUPPRESS, metavar="N", help="images an update")
    parser.add_argument(
        "--learning-rate", type=float, default=argparse.SUPPRESS, metavar="R", help="Adam's, at the start"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers [0]")


def execute(options: argparse.Namespace) -> None:
    """Train and save."""
    from mmd_ddm.data.catalogue import load_dataset
    from mmd_ddm.features.training import train_feature_space
    from mmd_ddm.pretrained.pretrain import pretrain

    dataset = load_dataset(options.dataset)
    folder = options.output or Path("runs") / f"pretrained-{options.dataset}-{options.what}"
    if folder.exists():
        raise UserError(f"{folder} exists already; name another --output")
    changed = {name: value for name, value in vars(options).items() if name in ("updates", "batch", "learning_rate")}
    if options.what == BASE:
        loss = pretrain(dataset, folder, seed=options.seed, **changed)
        print(f"base model: {folder} (loss {loss:.4f})")
    else:
        figures = train_feature_space(dataset, options.what, folder, seed=options.seed, **changed)
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        print(f"feature space {options.what}: {folder} ({told})")
