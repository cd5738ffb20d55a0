"""The options that commands share: a model with its sampler, the images of a data set, weights of feature spaces."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmd_ddm.errors import UserError


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--model, its sampler, and the seed of the noise."""
    from mmd_ddm.diffusion.names import BASELINES, SAMPLERS, VARIANCES
    from mmd_ddm.diffusion.timesteps import SCHEDULES

    others = ", ".join(name for name in BASELINES if name not in SAMPLERS)
    address = "MLflow address (runs:/ID, models:/NAME/VERSION or models:/NAME@ALIAS)"
    model = f"diffusers folder, hub id, {address}, or digits: the shipped model [digits]"
    sampler = f"{', '.join(SAMPLERS)}, or to compare with: {others} [as finetuned, or ddim]"
    schedule = f"{', '.join(SCHEDULES)} [linear, or trailing for one evaluation]"
    add = parser.add_argument
    add("--model", default="digits", metavar="M", help=model)
    add("--sampler", metavar="NAME", help=sampler)
    add("--schedule", metavar="NAME", help=schedule)
    add("--eta", type=float, metavar="E", help="noise of ddim, 0 to 1 [as finetuned, or 0]")
    add("--variance", metavar="NAME", help=f"of ddpm: {', '.join(VARIANCES)} [as finetuned, or the model's own]")
    guided = "u + w (c - u) of a DiT with labels, c, and without, u; two evaluations a step [as finetuned, or none]"
    add("--guidance-scale", type=float, metavar="W", help=guided)
    add("--seed", type=int, default=0, metavar="N", help="of the noise [0]")


def add_speed_options(parser: argparse.ArgumentParser) -> None:
    """--precision and --compile, as `finetune` has them among its settings."""
    from mmd_ddm.compilation import COMPILE, OFF
    from mmd_ddm.precision import FP32, PRECISIONS

    precision = "inside the diffusion model: fp32, tf32 (products of NVIDIA GPUs) or bf16 [fp32]"
    compiled = "whether networks are compiled: worth a minute or more where there are many images [off]"
    parser.add_argument("--precision", default=FP32, choices=PRECISIONS, help=precision)
    parser.add_argument("--compile", default=OFF, choices=COMPILE, help=compiled)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """--dataset, --data and --resolution."""
    data = "images in place of the data set's source: folder, Parquet, LMDB, archive, store"
    add = parser.add_argument
    add("--dataset", metavar="NAME", help="data set; with --data alone one's own images [digits]")
    add("--data", metavar="PATH", help=data)
    add("--resolution", type=int, metavar="R", help="height and width in pixels; one's own need it")


def image_options(options: argparse.Namespace) -> tuple[str, str | None, int | None]:
    """Name, path and resolution of the data set that the options ask for."""
    from mmd_ddm.data.names import OWN

    return options.dataset or (OWN if options.data else "digits"), options.data, options.resolution


def add_weights_option(parser: argparse._ActionsContainer) -> None:
    """--weights, which every command that loads feature spaces takes."""
    weights = "folder of weights of feature spaces [$MMD_DDM_WEIGHTS, downloads]"
    parser.add_argument("--weights", type=Path, metavar="DIR", help=weights)


def add_threads_option(parser: argparse._ActionsContainer) -> None:
    """--threads, which every command that calculates takes."""
    threads = (
        "threads of the CPU [$OMP_NUM_THREADS, or one for each idle core; of a run that finetune resumes: as it began]"
    )
    parser.add_argument("--threads", type=int, metavar="N", help=threads)


def use_weights(folder: Path | None) -> None:
    """Let this process and all that it starts look for weights in a folder; None changes nothing.

    Raises:
        UserError: there is no such folder.
    """
    if folder is None:
        return
    if not folder.expanduser().is_dir():
        raise UserError(f"--weights is {folder}, which is no folder; name the one that holds the files of weights")
    os.environ["MMD_DDM_WEIGHTS"] = str(folder.expanduser().absolute())  # workers have another working directory
