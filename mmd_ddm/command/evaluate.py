"""Score a model: KID with its standard error, and FID, in every feature space of a data set.

Gives a table over budgets of network evaluations, and as a floor the scores between random halves of the real images:
their KID with its standard deviation over splits, and their FID, which is biased upwards as it is from fewer images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from mmd_ddm.command.images import add_image_options, add_weights_option, image_options
from mmd_ddm.command.model import add_model_options, chain_of
from mmd_ddm.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, against what, at which budgets."""
    add_model_options(parser)
    add_image_options(parser)
    add_weights_option(parser)
    parser.add_argument("--steps", metavar="S,S,...", help="budgets, joined by commas [what it was finetuned for]")
    parser.add_argument("--images", type=int, default=5000, metavar="N", help="generated images a budget [5000]")
    parser.add_argument("--features", metavar="NAME+...", help="feature spaces, joined by + [the data set's]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the scores to a file")


def execute(options: argparse.Namespace) -> None:
    """Evaluate and print a table."""
    import torch

    from mmd_ddm.discrepancy.gather import SingleCollective
    from mmd_ddm.evaluation.floor import real_floor
    from mmd_ddm.experiment.build import Parts, evaluation_spaces
    from mmd_ddm.experiment.presets import preset
    from mmd_ddm.pretrained.load import locate

    budgets = _budgets(options.steps)
    config = preset("paper", *image_options(options)).replace(
        base_model=options.model, evaluation_features=options.features, seed=options.seed
    )
    names = list(evaluation_spaces(config))
    if options.images < 4:
        raise UserError(f"--images is {options.images}; an unbiased KID needs at least 4")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after the scores are computed
    folder = locate(options.model)
    chains = [chain_of(folder, options, steps) for steps in budgets]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    parts = Parts(config, device, SingleCollective())
    denoiser = parts.denoiser
    print(_header(names, options.images), flush=True)
    scores = {}
    for chain in chains:
        evaluator = parts.evaluator_with(chain, options.images, "evaluation")
        scores[str(len(chain.timesteps))] = found = evaluator(denoiser)
        print(_row(f"{len(chain.timesteps)} steps", found, names, options.images), flush=True)
    half = len(parts.images) // 2
    scores["real"] = {}
    for name, real in parts.real.items():
        floor = real_floor(real.features)
        found = {f"kid_{name}": floor.kid, f"kid_{name}_stderr": floor.kid_deviation, f"fid_{name}_{half}": floor.fid}
        scores["real"].update(found)
    print(_row(f"real, {half}", scores["real"], names, half))
    if options.json:
        options.json.write_text(json.dumps(scores, indent=1))


def _budgets(text: str | None) -> list[int | None]:
    if text is None:
        return [None]
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--steps is {text!r}; write whole numbers joined by commas, as in 5,10,20") from None


def _header(names: list[str], images: int) -> str:
    columns = "".join(f"{f'KID {name}':>26}{f'FID ({images})':>14}" for name in names)
    return f"{'':<12}{columns}"


def _row(title: str, scores: Mapping[str, float], names: list[str], images: int) -> str:
    cells = ""
    for name in names:
        value = f"{scores[f'kid_{name}']:.5f} ± {scores[f'kid_{name}_stderr']:.5f}"
        cells += f"{value:>26}{scores[f'fid_{name}_{images}']:>14.3f}"
    return f"{title:<12}{cells}"
