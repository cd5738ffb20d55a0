"""From a published checkpoint file to a diffusers folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home, locked, sha256_of
from mmd_ddm.pretrained.folder import write_pipeline
from mmd_ddm.pretrained.formats import ddim, guided_diffusion, improved_diffusion
from mmd_ddm.pretrained.formats.architecture import Converted, Untold, build_unet
from mmd_ddm.pretrained.formats.checkpoint import read_checkpoint

FORMATS: dict[str, ModuleType] = {module.NAME: module for module in (ddim, improved_diffusion, guided_diffusion)}


def convert_file(path: Path, folder: Path, form: str | None = None, told: Mapping[str, object] | None = None) -> Path:
    """Convert a checkpoint file into a DDPM pipeline folder, written whole or not at all.

    Args:
        path: of the checkpoint.
        folder: where the pipeline goes; replaced if it exists.
        form: one of `FORMATS`; none: as the names of the tensors tell.
        told: what the file does not tell, by the names of `Untold`; the format's own values for the rest.

    Raises:
        UserError: the file cannot be read, or is of another format or architecture.
    """
    from diffusers import DDPMPipeline, DDPMScheduler

    tensors = read_checkpoint(path)
    module = FORMATS[form] if form else _recognise(tensors, path)
    converted: Converted = module.convert(tensors, _untold(module, told or {}))
    with torch.device("meta"):  # the weights are at hand: none need be drawn
        network = build_unet(converted.config)
    network.load_state_dict(converted.weights, assign=True)
    pipeline = DDPMPipeline(network, DDPMScheduler(**converted.scheduler))
    record = {"source": path.name, "sha256": sha256_of(path), "format": module.NAME}
    return write_pipeline(pipeline, folder, {"imported.json": record})


def _untold(module: ModuleType, told: Mapping[str, object]) -> Untold:
    if "heads" in told:  # of whatever width
        if "head_width" in told:
            raise UserError("heads and head_width are both given; name one of them")
        told = {**told, "head_width": None}
    made: Untold = dataclasses.replace(module.DEFAULTS, **told)
    return made


def _recognise(tensors: Mapping[str, Tensor], path: Path) -> ModuleType:
    for module in FORMATS.values():
        if module.recognises(tensors):
            return module
    if "time_embedding.linear_1.weight" in tensors:
        raise UserError(f"{path} holds the weights of a diffusers model alone; give the folder with its configs")
    raise UserError(f"{path} is of no known format ({', '.join(FORMATS)}); its first tensor is {next(iter(tensors))}")


def converted_folder(path: Path) -> Path:
    """The folder of a checkpoint file named as a model: converted on first use, as by `convert_file`, then kept."""
    stat = path.stat()
    return _converted(path.absolute(), stat.st_size, stat.st_mtime_ns)


@lru_cache
def _converted(path: Path, size: int, changed: int) -> Path:
    digest = sha256_of(path)[:16]
    folder = cache_home() / "models" / digest
    if not folder.is_dir():
        with locked(folder.with_name(f".{digest}.lock")):
            if not folder.is_dir():  # another process may have made it meanwhile
                convert_file(path, folder)
    return folder
