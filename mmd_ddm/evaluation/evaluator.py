"""Images of a model from shared noise, and their scores in several feature spaces."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.compilation import Compiled, batches_of
from mmd_ddm.diffusion.baselines import Baseline
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import LabelSource
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.collective import Collective, share
from mmd_ddm.errors import ResourceError
from mmd_ddm.evaluation.measure import measure
from mmd_ddm.evaluation.metrics import Metrics
from mmd_ddm.evaluation.reference import RealSide
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.out_of_memory import fitted
from mmd_ddm.precision import whole_products
from mmd_ddm.progress import Advance, progress

_log = logging.getLogger(__name__)
SAMPLING_BATCH = 128  # larger ones leave the cache of a core: a quarter slower
Sampler = Chain | Baseline  # with its budget


def to_uint8(images: Tensor) -> Tensor:
    """Round images in [-1, 1], (N, C, H, W), to uint8, operation for operation as diffusers' pipelines do."""
    return ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)


def from_uint8(images: Tensor) -> Tensor:
    """Images (N, C, H, W) of uint8 as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


@dataclass(frozen=True)
class Evaluator:
    """A model with its sampler, and the real images that its images are scored against.

    Images pass the networks in the same batches whatever the number of workers, so it changes no score.

    """

    denoiser: Denoiser
    sampler: Sampler
    spaces: Mapping[str, FeatureSpace]
    real: Mapping[str, RealSide]  # in each of the spaces
    images: int  # how many to generate
    noise: NoiseSource  # the same for every model that is compared
    collective: Collective  # the workers over which sampling and embedding are spread
    device: torch.device  # of denoiser and spaces
    compiled: bool = False  # the pass through the spaces; the denoiser knows for itself
    labels: LabelSource | None = None  # of a class-conditional model's images, as often as in the data

    @property
    def nfe(self) -> int:
        """Network evaluations an image."""
        return self.sampler.nfe

    def score(self, measures: Collection[str] = ("kid", "fid")) -> Metrics:
        """Measure the generated images in each space; see `measure`."""
        return measure(self.features(), self.real, measures)

    @torch.no_grad()
    def features(self) -> dict[str, Tensor]:
        """Features (N, D) of generated images after rounding to uint8, by space, gathered over workers."""
        together = FeatureMixture(list(self.spaces.values()))
        batches = range(0, self.images, SAMPLING_BATCH)
        mine = share(len(batches), self.collective)
        embed = Compiled(together) if self.compiled else together
        parts, size = [torch.empty(0, sum(together.dims), device=self.device)], self._most
        with self._progress(len(mine)) as advance:
            for start in batches[mine.start : mine.stop]:
                batch = range(start, min(start + SAMPLING_BATCH, self.images))
                found, size = self._fitting(embed, batch, size)
                parts.append(found)
                advance("")
        everyone = self.collective.gather_rows(torch.cat(parts))
        return {name: each.contiguous() for name, each in zip(self.spaces, together.split(everyone), strict=True)}

    def _progress(self, batches: int) -> AbstractContextManager[Advance]:
        """Shown by one worker: the others are about as far."""
        if self.collective.rank > 0:
            return nullcontext(lambda figures: None)
        return progress(f"scoring, {self.nfe} network evaluations", batches)

    @property
    def _most(self) -> int:
        """Images that pass the networks together."""
        return min(SAMPLING_BATCH, self.images)

    def _fitting(
        self, embed: Callable[[Tensor], Tensor], indices: range, size: int
    ) -> tuple[Float[Tensor, "N D"], int]:
        """Features of the images at some positions, so many at a time or, where memory runs out, half as many."""

        def embedded(size: int) -> Tensor:
            pieces = [indices[start : start + size] for start in range(0, len(indices), size)]
            return torch.cat([self._embedded(embed, piece, size) for piece in pieces])

        return fitted(embedded, size, _half, self.device)

    def _embedded(self, embed: Callable[[Tensor], Tensor], indices: range, most: int) -> Tensor:
        images = from_uint8(to_uint8(self.sample(indices, most)))
        with whole_products(), batches_of(most):
            return embed(images)

    @torch.no_grad()
    def sample(self, indices: range, most: int | None = None, labels: Tensor | None = None) -> Tensor:
        """Images (n, C, H, W) of some positions of the evaluation's noise, n at most `most` (None: as scores have).

        Those of a class-conditional model have the position's labels, unless others (n,) are given.
        """
        noise = self.noise.draw(0, indices, self.sampler.draws, self.denoiser.image_shape).to(self.device)
        if labels is None and self.labels is not None:
            labels = self.labels.draw(0, indices)
        with batches_of(most or self._most):
            return self.sampler.sample(self.denoiser, noise, None if labels is None else labels.to(self.device))


def _half(size: int, said: str) -> int:
    if size == 1:
        raise ResourceError(f"sampling one image doesn't fit in memory ({said}); take a device with more")
    size //= 2
    _log.warning("Memory ran out while scoring (%s); from now on %d images are sampled together.", said, size)
    return size
