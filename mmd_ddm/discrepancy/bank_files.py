"""Banks on disk: made by all workers and trials together, once, and mapped into each of them afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.names import MANIFEST
from mmd_ddm.data.store import Rows, RowWriter
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.discrepancy.names import DTYPES
from mmd_ddm.discrepancy.vectors import Stacked
from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home, digest_of
from mmd_ddm.progress import progress

PART = 4096  # images of a part: what a kill loses at most, a process
EMBED_BATCH = 128  # images at a time: activations of Inception or a ViT for them fit beside a small GPU's other work
TORCH_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}
_VERSION = 1


class Space(Protocol):
    """A feature space as the bank sees it."""

    name: str
    dim: int

    @property
    def identity(self) -> str:
        """Equal for equal functions of images."""

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to (N, D)."""


def stored_bank(
    images: ImageSet, space: Space, *, dtype: str, mirrored: bool, device: torch.device, collective: Collective
) -> Bank:
    """Open the bank of a data set in a feature space; whatever is missing of it is computed first.

    Every process that asks for it, of this run or another, computes parts that no other has taken, until all are there.

    Args:
        images: M real images; if `mirrored`, the bank holds the M mirror images too.
        space: On `device`.
        dtype: `float32` or `float16`, of the features on disk.
        collective: This process's place among the workers, so that they begin at different parts.

    Raises:
        UserError: If the bank can't be written, or was made of other images.
    """
    flips = (False, True) if mirrored else (False,)
    sides = [_side(images, space, dtype, flip, device, collective) for flip in flips]
    return Bank(sides[0] if len(sides) == 1 else Stacked(sides), sides[-1].folder)


def bank_folder(images: ImageSet, space: Space, *, dtype: str, mirrored: bool) -> Path:
    """Where the features of the images, or of their mirror images, are kept."""
    name = f"{images.name}-{space.name}{'-mirrored' if mirrored else ''}".replace("/", "_").replace(":", "_")
    return cache_home() / "banks" / f"{name}-{digest_of(_key(images, space, dtype, mirrored))}"


def _key(images: ImageSet, space: Space, dtype: str, mirrored: bool) -> dict[str, object]:
    about = {"images": images.fingerprint, "space": space.identity}
    return {**about, "mirrored": mirrored, "dtype": dtype, "version": _VERSION}


def _side(
    images: ImageSet, space: Space, dtype: str, mirrored: bool, device: torch.device, collective: Collective
) -> Rows:
    folder, key = bank_folder(images, space, dtype=dtype, mirrored=mirrored), _key(images, space, dtype, mirrored)
    if (folder / MANIFEST).is_file():
        return Rows(folder, key)
    parts = -(-len(images) // PART)
    try:
        writer = RowWriter(folder, dtype=TORCH_DTYPES[dtype], shape=(space.dim,), parts=parts, key=key)
        return _compute(writer, images, space, mirrored, device, collective)
    except OSError as error:
        raise UserError(f"the bank of {images.name} in {space.name} can't be written to {folder}: {error}") from None


def _compute(
    writer: RowWriter, images: ImageSet, space: Space, mirrored: bool, device: torch.device, collective: Collective
) -> Rows:
    count = len(writer.files)
    first = count * collective.rank // collective.world
    stage = f"features of {images.name} in {space.name}{', mirrored' if mirrored else ''}"
    busy = [(first + i) % count for i in range(count)]
    with progress(stage, count) as advance:
        for wait in (False, True):  # what is free first, then what others are at: they may be killed
            parts, busy = busy, []
            for part in parts:
                with writer.claim(part, wait=wait) as mine:
                    if mine:
                        chosen = range(part * PART, min((part + 1) * PART, len(images)))
                        writer.write(part, _embed(images, chosen, space, mirrored, device).to(writer.dtype))
                if writer.is_missing(part):
                    busy.append(part)
                else:  # others' parts count too
                    advance("")
    return writer.finish({"images": images.name, "space": space.name})


@torch.no_grad()
def _embed(images: ImageSet, chosen: range, space: Space, mirrored: bool, device: torch.device) -> Tensor:
    slices = (slice(start, min(start + EMBED_BATCH, chosen.stop)) for start in chosen[::EMBED_BATCH])
    batches = (images.floats(each).to(device) for each in slices)
    return torch.cat([space(batch.flip(-1) if mirrored else batch).cpu() for batch in batches])
