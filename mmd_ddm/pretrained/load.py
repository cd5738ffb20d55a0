"""From the name of a base model to a denoiser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home
from mmd_ddm.pretrained.catalogue import left_out
from mmd_ddm.pretrained.convert import converted_folder
from mmd_ddm.pretrained.unet_size import check_size
from mmd_ddm.pretrained.weights_files import fitting, load_weights, read_weights
from mmd_ddm.records import read_record

if TYPE_CHECKING:
    from diffusers import UNet2DModel

SHIPPED = Path(__file__).parent / "weights"


def find_local(source: str, origin: str | None = None) -> Path | None:
    """The folder of a base model that is on this machine; none for a hub id.

    Args:
        source: name of a shipped or an imported model, a folder, or a checkpoint file, which is converted if it has
            not been yet.
        origin: a sentence on how to get the model, said when it is not there.

    Raises:
        UserError: it is none of these and not in the form of a hub id, or the file cannot be converted.
    """
    path = Path(source).expanduser()
    named = path.name == source
    for folder in (SHIPPED / source, path, cache_home() / "models" / source) if named else (path,):
        if folder.is_dir():
            return folder
    if path.is_file():
        return converted_folder(path)
    name, _, _ = source.partition("@")
    if name.count("/") == 1 and not source.startswith((".", "/", "~")):
        return None
    reason = f"on this machine: {origin}" if origin else "a folder or file, and a hub id has the form owner/name"
    raise UserError(f"base model {source!r} is not {reason}")


def locate(source: str, origin: str | None = None) -> Path:
    """The folder of a base model: as `find_local` has it, or the snapshot of a hub id, downloaded if need be.

    The hub id is `owner/name` or `owner/name@revision`.

    Raises:
        UserError: there is none, or the hub cannot be reached.
    """
    if local := find_local(source, origin):
        return local
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    oldest = ["*.json", "diffusion_pytorch_model*.bin", "unet/diffusion_pytorch_model*.bin"]
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=["*.json", "*.safetensors"]))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=oldest))
    except (OSError, ValueError) as error:  # the hub's errors derive from these
        reason = str(error).splitlines()[0]
        said = f"base model {source!r} is neither a folder nor to be had from the hub: {reason.rstrip('.')}"
        raise UserError(f"{said}; {how_to_get(source)}") from None
    return folder


def how_to_get(source: str) -> str:
    """Say how a model of the hub, `owner/name` or `owner/name@revision`, comes to a machine without a network.

    Below a folder of the hub's cache a model is known for what it is, see `catalogue.left_out`.
    """
    name, _, revision = source.partition("@")
    of = f" --revision {revision}" if revision else ""
    line = f"hf download {name}{of} --include '*.json' '*diffusion_pytorch_model*' --cache-dir DIR"
    return f"on a machine with a network run: {line}; copy DIR here, and name the folder that it printed: --base-model"


def scheduler_config(folder: Path) -> dict[str, object]:
    """Read a pipeline folder's `scheduler_config.json`: no defaults filled in but what `catalogue` knows.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    written = _read_json(part_of(folder, "scheduler") / "scheduler_config.json")
    return {**left_out(folder), **{key: value for key, value in written.items() if value is not None}}


def unet_config(folder: Path) -> dict[str, object]:
    """Read a pipeline folder's `config.json` of the U-Net; errors as `scheduler_config`, and for one of absurd size."""
    file = part_of(folder, "unet") / "config.json"
    config = _read_json(file)
    check_size(config, file)
    return config


def load_denoiser(folder: Path) -> Denoiser:
    """Load the network and noise schedule of a diffusers pipeline, in eval mode, float32, on the CPU.

    Raises:
        UserError: the folder is no diffusers pipeline of a `UNet2DModel`, is damaged, or network and scheduler
            contradict each other.
    """
    schedule = NoiseSchedule.from_scheduler_config(scheduler_config(folder))
    network = load_network(folder)
    size, channels = network.config.sample_size, network.config.in_channels
    sides = [size, size] if isinstance(size, int) else size
    config = part_of(folder, "unet") / "config.json"
    if not (isinstance(sides, (list, tuple)) and len(sides) == 2 and all(isinstance(side, int) for side in sides)):
        raise UserError(f"sample_size in {config} is {size!r}; it must be the side of the images, or two")
    expected = channels * (2 if schedule.variance_type == "learned_range" else 1)
    if network.config.out_channels != expected:
        raise UserError(
            f"out_channels in {config} is {network.config.out_channels}, but with in_channels {channels} and "
            f"variance_type {schedule.variance_type} of the scheduler config it must be {expected}"
        )
    return Denoiser(network, schedule, (channels, *sides))


def load_network(folder: Path) -> UNet2DModel:
    """Load the network alone, in eval mode; a table of time embeddings is frozen, since it stands for a fixed function.

    Raises:
        UserError: it is not a `UNet2DModel` without classes, or its weights are not whole, finite real numbers.
    """
    unet = part_of(folder, "unet")
    config = unet_config(folder)
    kind = config.get("_class_name")
    if kind not in ("UNet2DModel", "MultiHeadUNet2DModel"):
        raise UserError(f"the network in {unet} is a {kind}; only UNet2DModel is supported")
    from diffusers import UNet2DModel

    from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel

    # our own class, not the file that lies in the folder: no code of a model is run
    build = UNet2DModel if kind == "UNet2DModel" else MultiHeadUNet2DModel
    try:
        weights = read_weights(unet)
        with torch.device("meta"):  # before memory is taken: the file has all that the config asks for
            weights = fitting(weights, build.from_config(config))
        network = build.from_config(config)
        load_weights(weights, network)
    except (OSError, ValueError, RuntimeError, TypeError, ArithmeticError) as error:  # a UserError is a ValueError
        # the first line may only announce the second
        reason = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise UserError(f"the network in {unet} cannot be loaded: {reason}") from None
    if network.class_embedding is not None:
        raise UserError(f"the network in {unet} needs class labels; only unconditional models are supported")
    if isinstance(network.time_proj, nn.Embedding):
        network.time_proj.requires_grad_(False)
    return network.eval()


def shape_of(unet: Mapping[str, object]) -> tuple[object, ...]:
    """Channels, height and width of a model's images, as the config of its U-Net has them."""
    size = unet.get("sample_size")
    return unet.get("in_channels"), *(size if isinstance(size, (list, tuple)) else (size, size))


def check_fits(unet: Mapping[str, object], spec: DatasetSpec) -> None:
    """Refuse a base model, of this config of its U-Net, whose channels or resolution differ from the data set's.

    Raises:
        UserError: they differ.
    """
    shape = shape_of(unet)
    wanted = (spec.channels, spec.resolution, spec.resolution)
    if shape != wanted:
        raise UserError(
            f"the base model makes images of (channels, height, width) {shape}, data set {spec.name} has {wanted}"
        )


def part_of(folder: Path, name: str) -> Path:
    """Return where a pipeline folder has its network (`unet`) or its `scheduler`."""
    # the oldest pipelines on the hub keep both parts in the folder itself
    return folder / name if (folder / name).is_dir() else folder


def _read_json(path: Path) -> dict[str, object]:
    if not path.exists():
        raise UserError(f"{path.parent} is not a diffusers pipeline: it has no {path.name}")
    return dict(read_record(path).entries)
