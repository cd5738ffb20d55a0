"""From a diffusers folder or hub id to a denoiser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmd_ddm.data.catalogue import Entry
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError

SHIPPED = Path(__file__).parent / "weights"


def find_local(source: str) -> Path | None:
    """The folder of a base model that is on this machine: a shipped one by name, or a path; none for a hub id.

    Raises:
        UserError: it is neither a folder nor in the form of a hub id.
    """
    for folder in (SHIPPED / source, Path(source).expanduser()):
        if folder.is_dir():
            return folder
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise UserError(f"base model {source!r} is not a folder, and a hub id has the form owner/name")
    return None


def locate(source: str) -> Path:
    """The folder of a base model: as `find_local` has it, or the snapshot of a hub id, downloaded if need be.

    Raises:
        UserError: there is none, or the hub cannot be reached.
    """
    local = find_local(source)
    if local is not None:
        return local
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=["*.json", "*.safetensors"]))
    except (OSError, ValueError) as error:  # the hub's errors derive from these
        reason = str(error).splitlines()[0]
        raise UserError(f"base model {source!r} is neither a folder nor to be had from the hub: {reason}") from None


def scheduler_config(folder: Path) -> dict[str, Any]:
    """The content of a pipeline folder's `scheduler_config.json`, as written: no defaults filled in.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    return _read_json(_part(folder, "scheduler") / "scheduler_config.json")


def load_denoiser(folder: Path) -> Denoiser:
    """Load the network and noise schedule of a diffusers pipeline, in eval mode, float32, on the CPU.

    Args:
        folder: as `locate` gives it.

    Raises:
        UserError: the folder is no diffusers pipeline of a `UNet2DModel`, or is damaged.
    """
    schedule = NoiseSchedule.from_scheduler_config(scheduler_config(folder))
    unet = _part(folder, "unet")
    kind = _read_json(unet / "config.json").get("_class_name")
    if kind != "UNet2DModel":
        raise UserError(f"the network in {unet} is a {kind}; only UNet2DModel is supported")
    from diffusers import UNet2DModel

    try:
        network = UNet2DModel.from_pretrained(unet, use_safetensors=True, low_cpu_mem_usage=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(
            line.strip() for line in str(error).splitlines()[:2]
        )  # the first may only announce the second
        raise UserError(f"the network in {unet} cannot be loaded: {reason}") from None
    size, channels = network.config.sample_size, network.config.in_channels
    sizes = [size, size] if isinstance(size, int) else size
    if not (isinstance(sizes, (list, tuple)) and len(sizes) == 2 and all(isinstance(side, int) for side in sizes)):
        raise UserError(f"sample_size in {unet / 'config.json'} is {size!r}; it must be the side of the images, or two")
    height, width = sizes
    return Denoiser(network.eval(), schedule, (channels, height, width))


def check_fits(denoiser: Denoiser, entry: Entry) -> None:
    """Refuse a base model of another image shape than the data set's.

    Raises:
        UserError: channels or resolution differ.
    """
    shape = (entry.channels, entry.resolution, entry.resolution)
    if denoiser.image_shape != shape:
        raise UserError(
            f"the base model makes images of (channels, height, width) {denoiser.image_shape}, "
            f"data set {entry.name} has {shape}"
        )


def _part(folder: Path, name: str) -> Path:
    # the oldest pipelines on the hub keep both parts in the folder itself
    return folder / name if (folder / name).is_dir() else folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path.parent} is not a diffusers pipeline: it has no {path.name}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no JSON object")
    return content
