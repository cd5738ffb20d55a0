"""The autoencoder of a latent model's folder: where it lies, and its config, read without its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.catalogue import AUTOENCODERS, hub_id
from mmd_ddm.pretrained.unet_size import check_size
from mmd_ddm.records import Record, read_record

AUTOENCODER_KL, VQ_MODEL = "AutoencoderKL", "VQModel"
_PARTS = ("vqvae", "vae")  # as LDMPipeline calls it, and as DiTPipeline does
_UNKNOWN = ("shift_factor", "latents_mean", "latents_std")  # of other pipelines, which decode otherwise
# the classes' own, which older configs leave out
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    AUTOENCODER_KL: {"out_channels": 3, "latent_channels": 4, "block_out_channels": [64], "scaling_factor": 0.18215},
    VQ_MODEL: {"out_channels": 3, "latent_channels": 3, "block_out_channels": [64]},
}


class Autoencoder(NamedTuple):
    """Of a folder: where its files are, and its config, what older ones leave out filled in."""

    part: Path
    config: Mapping[str, object]


def find_autoencoder(folder: Path) -> Autoencoder | None:
    """Read the config of a pipeline folder's autoencoder; None: it has none, and makes images itself.

    A `VQModel` that tells no `scaling_factor` is refused unless `catalogue` knows it: diffusers' `LDMPipeline` divided
    by nothing before version 0.22 and divides by 0.18215 since.

    Raises:
        UserError: it is missing, damaged, of another class or of absurd size, or leaves the scaling factor open.
    """
    part = _part(folder)
    return None if part is None else _read(part, folder)


def autoencoder_at(folder: Path) -> Autoencoder:
    """Read the config of an autoencoder in a folder of its own, or in a pipeline's; errors as of `find_autoencoder`."""
    return find_autoencoder(folder) or _read(folder, folder)


def _read(part: Path, folder: Path) -> Autoencoder:
    file = part / "config.json"
    if not file.is_file():
        raise UserError(f"{part} has no {file.name}; put the whole model there")
    written = {key: value for key, value in read_record(file).entries.items() if value is not None}
    kind = written.get("_class_name")
    if kind not in _DEFAULTS:
        raise UserError(f"the autoencoder in {part} is a {kind}; supported are {' and '.join(_DEFAULTS)}")
    config = {**_DEFAULTS[str(kind)], **AUTOENCODERS.get(hub_id(folder) or "", {}), **written}
    check_size(config, file)
    if foreign := [name for name in _UNKNOWN if name in config]:
        raise UserError(f"{file} has {foreign[0]}, which the pipelines that are supported do not know")
    if "scaling_factor" not in config:
        raise UserError(
            f"{file} has no scaling_factor, by which the latents were multiplied for training; write it there (1 if "
            "the model was sampled with diffusers before 0.22)"
        )
    if Record(config, str(file)).number("scaling_factor") <= 0:
        raise UserError(f"scaling_factor in {file} is {config['scaling_factor']}; it must be above 0")
    return Autoencoder(part, config)


def _part(folder: Path) -> Path | None:
    index = folder / "model_index.json"
    listed = read_record(index).entries if index.is_file() else {}
    for name in _PARTS:
        if (folder / name).is_dir():
            return folder / name
        if listed.get(name) not in (None, [None, None]):
            raise UserError(f"{folder} is incomplete: it has no {name}, which its {index.name} names")
    return None


def latent_channels(config: Mapping[str, object]) -> object:
    """Return how many channels the latents have that an autoencoder of this config decodes."""
    return config.get("vq_embed_dim") or config["latent_channels"]


def decoded_shape(config: Mapping[str, object], latents: tuple[object, ...]) -> tuple[object, ...]:
    """Return channels, height and width of images that are decoded from latents of a shape."""
    widths = config["block_out_channels"]
    assert isinstance(widths, (list, tuple))  # or `find_autoencoder` had refused it
    factor = 2 ** (len(widths) - 1)  # each level but one doubles the sides
    return config["out_channels"], *(side * factor if isinstance(side, int) else side for side in latents[1:])
