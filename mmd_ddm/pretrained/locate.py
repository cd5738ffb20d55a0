"""From the name of a base model to its folder."""

from __future__ import annotations

from pathlib import Path

from mmd_ddm.errors import UserError, first_line
from mmd_ddm.files import cache_home

SHIPPED = Path(__file__).parent / "weights"
PARTS = ("unet", "transformer", "vqvae", "vae")  # of a pipeline that have weights, if it has them


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
        from mmd_ddm.pretrained.convert import converted_folder  # PyTorch, which only this needs

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
    oldest = ["*.json", *(f"{part}diffusion_pytorch_model*.bin" for part in ("", *(f"{name}/" for name in PARTS)))]
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=["*.json", "*.safetensors"]))
        if not all(any(part.glob("*.safetensors")) for part in _networks(folder)):
            folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=oldest))
    except (OSError, ValueError) as error:  # the hub's errors derive from these
        reason = first_line(error)
        said = f"base model {source!r} is neither a folder nor to be had from the hub: {reason.rstrip('.')}"
        raise UserError(f"{said}; {how_to_get(source)}") from None
    return folder


def _networks(folder: Path) -> list[Path]:
    """Where a snapshot has the weights of its networks; the oldest have those of their only one in the folder."""
    return [folder / name for name in PARTS if (folder / name).is_dir()] or [folder]


def how_to_get(source: str) -> str:
    """Say how a model of the hub, `owner/name` or `owner/name@revision`, comes to a machine without a network.

    Below a folder of the hub's cache a model is known for what it is, see `catalogue.left_out`.
    """
    name, _, revision = source.partition("@")
    of = f" --revision {revision}" if revision else ""
    line = f"hf download {name}{of} --include '*.json' '*diffusion_pytorch_model*' --cache-dir DIR"
    return f"on a machine with a network run: {line}; copy DIR here, and name the folder that it printed: --base-model"
