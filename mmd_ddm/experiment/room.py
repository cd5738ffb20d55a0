"""Whether a command's work fits on this machine: refused before memory or a disk is filled, with what it would need."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import torch

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import memory_estimate
from mmd_ddm.experiment.inputs import base_folder
from mmd_ddm.files import nearest_existing
from mmd_ddm.finetuning.memory import check_memory, readable
from mmd_ddm.pretrained.autoencoder_config import find_autoencoder
from mmd_ddm.pretrained.configs import unet_config

PROCESS = 300e6  # bytes of a worker with PyTorch and diffusers before it does anything
_LEAST = 16  # dimensions of the smallest feature space
_FLOAT = 4  # bytes
_FILE = 4096  # bytes of the smallest file on most disks


def check_run(config: Config, device: torch.device, workers: int) -> None:
    """Refuse a run whose batch, weights and worker processes together do not fit on this machine.

    Counted are the weights with their gradient and Adam, the states of the chain, and one image's graph: the replayed
    chain needs no more.

    Args:
        config: Of the run, its base model at hand.
        device: Of all workers.
        workers: Processes on this machine besides this one.

    Raises:
        UserError: It needs more memory than is free, or more CPUs than there are.
    """
    if workers > (there := os.cpu_count() or workers):
        raise UserError(f"--workers is {workers}, but this machine has {there} CPUs; ask for fewer")
    folder = base_folder(config)
    autoencoder = find_autoencoder(folder)
    decoder = None if autoencoder is None else autoencoder.config
    found = memory_estimate(config, unet_config(folder), max(1, workers), decoder)
    each = found.weights + found.states + found.replayed + (PROCESS if workers else 0)
    shared = max(1, workers) if device.type == "cpu" else 1
    batch = f"a batch of {config.optimization.batch} images with {config.budgets[-1]} network evaluations each"
    check_memory(shared * each, device, f"{batch} on {max(1, workers)} workers" if workers else batch,
                 "make --batch smaller")  # fmt: skip


def check_batch(images: int, shape: tuple[int, ...], device: torch.device) -> None:
    """Refuse a training batch of which not even the images and their noise fit in memory.

    Args:
        images: Of the batch, each of `shape` (channels, height, width).
        shape: Of an image.
        device: Where the training runs.
    """
    check_memory(
        2.0 * _FLOAT * images * math.prod(shape), device, f"a batch of {images} images", "make --batch smaller"
    )


def check_processes(workers: int) -> None:
    """Refuse more worker processes of `evaluate` than this machine's memory holds."""
    if workers > 1:
        told = f"--workers {workers}, of which each is a process,"
        check_memory(workers * PROCESS, torch.device("cpu"), told, "ask for fewer")


def check_generated(images: int, option: str) -> None:
    """Refuse a number of generated images whose features no feature space is small enough to keep in memory."""
    what = f"the features of {images} generated images"
    check_memory(4.0 * images * _LEAST, torch.device("cpu"), what, f"make {option} smaller")


def check_images(images: int, shape: tuple[object, ...]) -> None:
    """Refuse a number of images, each of `shape`, that are returned together and do not fit in memory."""
    pixels = math.prod(side for side in shape if isinstance(side, int))  # what else there may be is refused at loading
    check_memory(float(_FLOAT) * images * pixels, torch.device("cpu"), f"{images} images", "ask for fewer")


def check_disk(images: int, folder: Path) -> None:
    """Refuse more image files than the disk of a folder, or of what there is of its path, has room for."""
    there = nearest_existing(folder)
    if images * _FILE > (free := shutil.disk_usage(there).free):
        raise UserError(f"{images} files would need at least {readable(images * _FILE)}, and {readable(free)} are free "
                        f"in {there}; ask for fewer --images")  # fmt: skip
