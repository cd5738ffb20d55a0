"""Import of a base model from elsewhere: a published checkpoint file or a diffusers model, into a complete folder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path

from mmd_ddm.diffusion.names import is_flow_matching
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.autoencoder import load_decoder
from mmd_ddm.pretrained.configs import class_names, scheduler_config
from mmd_ddm.pretrained.convert import convert_file
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.load import load_network
from mmd_ddm.pretrained.locate import locate

DIFFUSERS = "diffusers"
_OF_SCHEDULERS = {"prediction_type", "variance_type"}  # what a diffusers model may leave open


def import_model(
    source: str, folder: Path, form: str | None, told: Mapping[str, object], autoencoder: str | None = None
) -> Path:
    """Import a base model, whole or not at all.

    Args:
        source: a checkpoint file; for `diffusers` a folder or hub id.
        folder: where the pipeline goes; must not exist.
        form: `diffusers` or one of `convert.FORMATS`; none: a folder or hub id is of diffusers, a file tells by itself.
        told: what the source does not tell, by the names of `formats.architecture.Untold`.
        autoencoder: folder or hub id of the one whose latents a file's network makes; none: it makes images.

    Raises:
        UserError: the folder exists, the source is not of the format, or something told does not belong to it.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; name another --output")
    path = Path(source).expanduser()
    form = form or (None if path.is_file() else DIFFUSERS)
    if path.is_file() == (form == DIFFUSERS):
        kind = "a folder or hub id, not a file" if path.is_file() else "a file, and that is none"
        raise UserError(f"{source} cannot be imported: a model of format {form} is {kind}")
    if form != DIFFUSERS:
        return convert_file(path, folder, form, told, autoencoder)
    if autoencoder is not None:
        raise UserError(f"--autoencoder is of no use with --format {form}, whose folders have theirs; leave it out")
    if foreign := sorted(set(told) - _OF_SCHEDULERS):
        raise UserError(f"--{foreign[0].replace('_', '-')} is of no use with --format {form}; leave it out")
    return _complete(locate(source), folder, told)


def _complete(model: Path, folder: Path, told: Mapping[str, object]) -> Path:
    from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

    config = {**scheduler_config(model), **told}
    NoiseSchedule.from_scheduler_config(config)  # nothing that it needs may be missing
    # DDIM's has no variance: DDPM's would fill in one that nobody named
    scheduler = DDPMScheduler if "variance_type" in config else DDIMScheduler
    if is_flow_matching(config):
        if told:
            option = next(iter(told)).replace("_", "-")
            raise UserError(f"--{option} is of no use with a model of flow matching; leave it out")
        scheduler = FlowMatchEulerDiscreteScheduler
    known = inspect.signature(scheduler.__init__).parameters
    built = scheduler(**{key: value for key, value in config.items() if key in known})
    record, decoder = {"source": str(model), "format": DIFFUSERS}, load_decoder(model)
    autoencoder = None if decoder is None else decoder.autoencoder
    pipeline = make_pipeline(load_network(model), built, autoencoder, class_names(model))
    return write_pipeline(pipeline, folder, {"imported.json": record})
