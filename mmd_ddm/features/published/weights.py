"""Weights that others published: where they are looked for, how they are downloaded and checked.

They are looked for in the folder that MMD_DDM_WEIGHTS names, by their published file name (`ViT-B-32.pt`) or as
`<model>[.<tag>].safetensors|.pt|.pth` (`ViT-B-16.laion2b_s34b_b88k.safetensors`, `resnet50.a1_in1k.pth`), then where
torch.hub and the Hugging Face hub keep their downloads; what is nowhere is downloaded, unless HF_HUB_OFFLINE is set.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.errors import UserError, first_line

FOLDER, UNVERIFIED = "MMD_DDM_WEIGHTS", "MMD_DDM_UNVERIFIED_WEIGHTS"
SUFFIXES = (".safetensors", ".pt", ".pth")


@dataclass(frozen=True)
class PublishedWeights:
    """One file of weights, by any of the names it goes by."""

    files: tuple[str, ...]  # names that are looked for in the folder of weights, the publisher's first
    source: str  # where it comes from, for people
    digests: Mapping[str, str] = field(default_factory=dict)  # by file: its SHA-256, or how that begins, if known
    url: str | None = None  # where it is downloaded from; None if the hub has it
    repo: str | None = None  # its repository on the Hugging Face hub
    hub_files: tuple[str, ...] = ()  # its names there, the preferred one first
    bytes: int | None = None


class WeightsReport(NamedTuple):
    """Where the weights of a feature space are, if they are present, where they come from, and how large they are."""

    file: Path | None
    present: bool
    source: str
    bytes: int | None


_INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
_INCEPTION_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_INCEPTION_FILE}"
INCEPTION = PublishedWeights(
    files=(_INCEPTION_FILE,),
    source=_INCEPTION_URL,
    digests={_INCEPTION_FILE: "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"},
    url=_INCEPTION_URL,
    bytes=95_628_359,
)
_CLIP_SHA256 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
CLIP = PublishedWeights(
    files=("ViT-B-32.pt", *(f"ViT-B-32.openai{suffix}" for suffix in SUFFIXES)),
    source=f"https://openaipublic.azureedge.net/clip/models/{_CLIP_SHA256}/ViT-B-32.pt",
    digests={"ViT-B-32.pt": _CLIP_SHA256},
    repo="timm/vit_base_patch32_clip_224.openai",
    hub_files=("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)
DINOV2 = PublishedWeights(
    files=("dinov2_vitb14_pretrain.pth", *(f"vit_base_patch14_dinov2.lvd142m{suffix}" for suffix in SUFFIXES)),
    source="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
    # Meta states none; this is what those who use the file have recorded of it
    digests={"dinov2_vitb14_pretrain.pth": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73"},
    repo="timm/vit_base_patch14_dinov2.lvd142m",
    hub_files=("model.safetensors", "pytorch_model.bin"),
    bytes=346_378_731,
)


def weights_folder() -> Path | None:
    """Return the folder that MMD_DDM_WEIGHTS names, or None.

    Raises:
        UserError: If it names something else.
    """
    named = os.environ.get(FOLDER)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise UserError(f"{FOLDER} is {named!r}, which is no folder; name one that holds files of weights.")
    return folder


def find(weights: PublishedWeights) -> Path | None:
    """Return where a file of weights is on this machine, or None; nothing is downloaded."""
    if folder := weights_folder():
        for name in weights.files:
            if (folder / name).is_file():
                return folder / name
    if file := in_torch_hub(weights):
        return file
    if weights.repo:
        from huggingface_hub import try_to_load_from_cache

        for name in weights.hub_files:
            cached = try_to_load_from_cache(weights.repo, name)
            if isinstance(cached, str):
                return Path(cached)
    return None


def in_torch_hub(weights: PublishedWeights) -> Path | None:
    """Return where torch.hub keeps a file of weights that was downloaded, or None."""
    file = _torch_cache(weights.url) if weights.url else None
    return file if file is not None and file.is_file() else None


def obtain(weights: PublishedWeights, name: str) -> Path:
    """Find or download the weights of the feature space `name`, and check that the file's contents are those published.

    Raises:
        UserError: If it is nowhere and can't be downloaded, or has other contents.
    """
    file = find(weights) or _download(weights, name)
    _verify(file, weights, name)
    return file


def _torch_cache(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def digest_in_address(url: str) -> str | None:
    """Return the SHA-256, or how it begins, that an address names as a folder (OpenAI) or after a dash, or None."""
    *folders, file = url.split("/")
    in_name = re.search("-([0-9a-f]{8,64})[.]", file)
    whole = [folder for folder in folders if re.fullmatch("[0-9a-f]{64}", folder)]
    return whole[0] if whole else in_name.group(1) if in_name else None


def _download(weights: PublishedWeights, name: str) -> Path:
    missing = (
        f"The weights of {name!r} are missing: put {weights.files[0]} (from {weights.source}) into a folder and name "
        f"that with --weights or {FOLDER}"
    )
    if weights.url is None and weights.repo is None:
        raise UserError(f"{missing}.")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError(f"{missing}, or unset HF_HUB_OFFLINE to have them downloaded.")
    try:
        return _from_hub(weights) if weights.url is None else _from_address(weights.url, weights)
    except Exception as error:  # what the libraries under the hub's client raise has no common base
        reason = first_line(error).rstrip(".")
        raise UserError(f"{missing}, as they can't be downloaded ({reason}).") from error


def _from_address(url: str, weights: PublishedWeights) -> Path:
    import torch

    file = _torch_cache(url)
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(file), hash_prefix=weights.digests.get(file.name))
    return file


def _from_hub(weights: PublishedWeights) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    assert weights.repo is not None
    for name in weights.hub_files[:-1]:
        try:
            return Path(hf_hub_download(weights.repo, name))
        except LocalEntryNotFoundError:  # no connection, which is no answer
            raise
        except EntryNotFoundError:
            continue
    return Path(hf_hub_download(weights.repo, weights.hub_files[-1]))


def _verify(file: Path, weights: PublishedWeights, name: str) -> None:
    expected = weights.digests.get(file.name, _hub_digest(file))
    if expected is None or os.environ.get(UNVERIFIED) == "1":
        return
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if not found.startswith(expected):
        raise UserError(
            f"{file} isn't the published file for {name!r} (SHA-256 {found[:16]}..., not {expected[:16]}...); get it "
            f"again from {weights.source}, or set {UNVERIFIED}=1 if these weights are meant."
        )


def _hub_digest(file: Path) -> str | None:
    """Read what the hub says of a file in its cache: a link to a blob that is named by its SHA-256."""
    blob = file.resolve()
    known = file.is_symlink() and blob.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", blob.name)
    return blob.name if known else None
