"""The options that name a model and how it samples, shared by `evaluate` and `sample`."""

from __future__ import annotations

import argparse


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, its sampler, and the seed of the noise."""
    from mmd_ddm.diffusion.baselines import BASELINES
    from mmd_ddm.diffusion.samplers import SAMPLERS

    parser.add_argument(
        "--model",
        default="digits",
        metavar="M",
        help="diffusers folder, hub id, MLflow address (runs:/ID, models:/NAME/VERSION or models:/NAME@ALIAS), or "
        "digits: the shipped model [digits]",
    )
    others = ", ".join(name for name in BASELINES if name not in SAMPLERS)
    parser.add_argument(
        "--sampler", metavar="NAME", help=f"ddim or ddpm, or to compare with: {others} [as finetuned, or ddim]"
    )
    parser.add_argument("--schedule", default="linear", metavar="NAME", help="linear, quadratic or stride [linear]")
    parser.add_argument("--eta", type=float, metavar="E", help="noise of ddim, 0 to 1 [as finetuned, or 0]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise [0]")
