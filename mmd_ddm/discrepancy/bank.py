"""The bank: features of all real images of a data set in a feature space, computed once.

Attraction to the whole bank in every update has no sampling noise from the real side, needs no pass of real images,
and makes the real-real term a constant, so that the logged loss is a true MMD^2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.discrepancy.collective import Collective, share
from mmd_ddm.discrepancy.gaussian import Gaussian, fit
from mmd_ddm.discrepancy.kernels import Kernel
from mmd_ddm.discrepancy.mmd import block_count, within_moments
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.errors import UserError
from mmd_ddm.files import digest_of, replacing

_log = logging.getLogger(__name__)
PIECE = 4096  # rows that are copied to a device at a time
EMBED_BATCH = 128  # Inception takes 2 GB for as many


@dataclass(frozen=True)
class Bank:
    """Features (M, D) of real images, mirror images after all others where they belong to the set.

    In the folder `memory` is kept what was derived from all features, for the next run; None: nowhere.
    """

    features: Vectors
    memory: Path | None = None

    def __post_init__(self) -> None:
        if len(self.features) < 4:
            raise UserError(f"the data set has {len(self.features)} images; an unbiased MMD needs at least 4")

    def __len__(self) -> int:
        return len(self.features)

    @classmethod
    def embed(cls, images: Tensor, space: Callable[[Tensor], Tensor], collective: Collective) -> Bank:
        """Embed images (M, C, H, W) in [-1, 1] that fit in memory, the same on every worker.

        They are spread over the workers in whole batches, so that the number of workers changes no feature.
        """
        batches = torch.split(images, EMBED_BATCH)
        mine = share(len(batches), collective)
        with torch.no_grad():
            found = [space(piece) for piece in batches[mine.start : mine.stop]]
            # a worker without a batch has to know the features' shape
            none = space(images[:1])[:0] if not found else found[0][:0]
            return cls(collective.gather_rows(torch.cat([none, *found])))

    def shard(self, collective: Collective, device: torch.device) -> Tensor:
        """The rows that this worker attracts to, on its device."""
        mine = share(len(self), collective)
        if isinstance(self.features, Tensor):
            return self.features[mine.start : mine.stop].to(device)
        like = self.features[0:1]
        shard = torch.empty((len(mine), like.shape[1]), dtype=like.dtype, device=device)
        for start in range(0, len(mine), PIECE):  # never all of it beside its copy
            piece = self.features[mine.start + start : min(mine.start + start + PIECE, mine.stop)]
            shard[start : start + len(piece)] = piece
        return shard

    def within_mean(self, kernel: Kernel, collective: Collective, like: Tensor) -> Tensor:
        """The mean of k(y_i, y_j) over i != j, a float64 scalar, in the precision and on the device of `like`.

        Each pair is computed by one worker, so that all must call this.
        """
        name = f"within-{digest_of(f'{kernel} {like.dtype}')}"
        kept = self.recall(name)
        # the workers may not see the same disk, and must go the same way
        if bool(collective.sum_(torch.tensor(float(kept is not None), device=like.device)) == collective.world):
            assert kept is not None
            return kept["mean"].to(like.device)
        blocks = range(collective.rank, block_count(self.features), collective.world)
        total = collective.sum_(within_moments(self.features, kernel, like, blocks).rows.sum())
        mean = total / (len(self) * (len(self) - 1))
        self.keep(name, {"mean": mean})
        return mean

    def gaussian(self, device: torch.device) -> Gaussian:
        """Mean and covariance of all features, computed on a device."""
        return Gaussian(**self.once("gaussian", lambda: fit(self.features, device)._asdict(), device))

    def once(self, name: str, compute: Callable[[], dict[str, Tensor]], device: torch.device) -> dict[str, Tensor]:
        """What is derived from all features by `compute`, or was by any run before, on a device."""
        kept = self.recall(name)
        if kept is None:
            self.keep(name, kept := compute())
        return {key: tensor.to(device) for key, tensor in kept.items()}

    def recall(self, name: str) -> dict[str, Tensor] | None:
        """What `keep` was given under a name by any run, on the CPU; None if nothing was, or it can't be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.memory is None:
            return None
        try:
            found: dict[str, Tensor] = load_file(self._file(name))
            return found
        except (OSError, SafetensorError):
            return None

    def keep(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep what was derived from all features beside them, where they are on disk and it can be written to."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if self.memory is None:
            return
        try:
            with replacing(self._file(name)) as half:
                save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, half)
        except (OSError, SafetensorError) as error:
            _log.warning("%s can't be kept and will be computed again (%s)", self._file(name), error)

    def _file(self, name: str) -> Path:
        assert self.memory is not None
        return self.memory / f"{name}.safetensors"
