"""From a published checkpoint file to a diffusers folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home, locked, sha256_of
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.formats import ddim, edm, edm2, guided_diffusion, improved_diffusion
from mmd_ddm.pretrained.formats.architecture import Converted, Untold, build_unet
from mmd_ddm.pretrained.formats.checkpoint import read_checkpoint
from mmd_ddm.pretrained.formats.noise_levels import LENGTH
from mmd_ddm.pretrained.formats.stability_encoder import NormalisedLatents
from mmd_ddm.pretrained.normalised_autoencoder import load_normalised

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# those of tensors by name
STATE_DICTS: dict[str, ModuleType] = {module.NAME: module for module in (ddim, improved_diffusion, guided_diffusion)}
# those of NVlabs' pickles: whatever is of the first is recognised by the second too
PICKLES: dict[str, ModuleType] = {module.NAME: module for module in (edm2, edm)}
FORMATS = (*STATE_DICTS, *sorted(PICKLES))


def convert_file(
    path: Path,
    folder: Path,
    form: str | None = None,
    told: Mapping[str, object] | None = None,
    autoencoder: str | None = None,
) -> Path:
    """Convert a checkpoint file into a pipeline folder, written whole or not at all.

    Args:
        path: of the checkpoint.
        folder: where the pipeline goes; replaced if it exists.
        form: one of `FORMATS`; none: as the file and the names of its tensors tell.
        told: what the file does not tell, by the names of `Untold`; the format's own values for the rest.
        autoencoder: folder or hub id of the one whose latents the network makes; none: it makes images.

    Raises:
        UserError: the file cannot be read, or is of another format or architecture, or its autoencoder is missing.
    """
    from diffusers import DDIMScheduler, DDPMScheduler

    name, converted = _converted_by(path, form, told or {})
    with torch.device("meta"):  # the weights are at hand: none need be drawn
        network = build_unet(converted.config)
    network.load_state_dict(converted.weights, assign=True)
    kind = DDPMScheduler if "variance_type" in converted.scheduler else DDIMScheduler
    pipeline = make_pipeline(network, kind(**converted.scheduler), _decodes(converted.latents, autoencoder, path))
    record = {"source": path.name, "sha256": sha256_of(path), "format": name}
    if autoencoder is not None:
        record["autoencoder"] = autoencoder
    return write_pipeline(pipeline, folder, {"imported.json": record})


def _decodes(latents: NormalisedLatents | None, source: str | None, path: Path) -> AutoencoderKL | None:
    """Load the autoencoder that a network needs, if it needs one."""
    if latents is None:
        if source is not None:
            raise UserError(f"--autoencoder is of no use with {path}, whose network makes images itself; leave it out")
        return None
    if source is None:
        raise UserError(
            f"the network in {path} makes latents of {latents.autoencoder}, of which the file has the name alone: "
            f"mmd-ddm import {path} --autoencoder {latents.autoencoder} --output DIR makes a model of both (a folder "
            "with the autoencoder will do as well)"
        )
    return load_normalised(source, latents)


def _converted_by(path: Path, form: str | None, told: Mapping[str, object]) -> tuple[str, Converted]:
    pickled = form if form in PICKLES else None
    if form is None:
        pickled = next((name for name, module in PICKLES.items() if module.recognises(path)), None)
    if pickled is not None:
        return pickled, _from_pickle(path, pickled, told)
    tensors = read_checkpoint(path)
    module = STATE_DICTS[form] if form else _recognise(tensors, path)
    converted: Converted = module.convert(tensors, _untold(module, told))
    return module.NAME, converted


def _from_pickle(path: Path, form: str, told: Mapping[str, object]) -> Converted:
    if foreign := sorted(set(told) - {"length"}):
        option = foreign[0].replace("_", "-")
        raise UserError(f"--{option} is of no use with --format {form}, whose files tell it; leave it out")
    length = told.get("length", LENGTH)
    assert isinstance(length, int)
    converted: Converted = PICKLES[form].convert(path, length)
    return converted


def _untold(module: ModuleType, told: Mapping[str, object]) -> Untold:
    if "heads" in told:  # of whatever width
        if "head_width" in told:
            raise UserError("heads and head_width are both given; name one of them")
        told = {**told, "head_width": None}
    made: Untold = dataclasses.replace(module.DEFAULTS, **told)
    return made


def _recognise(tensors: Mapping[str, Tensor], path: Path) -> ModuleType:
    for module in STATE_DICTS.values():
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
