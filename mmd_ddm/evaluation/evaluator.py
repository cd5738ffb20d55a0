"""Images of a model from shared noise, and their scores in several feature spaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from mmd_ddm.diffusion.baselines import Baseline
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.collective import Collective, share
from mmd_ddm.evaluation.measure import measure
from mmd_ddm.evaluation.metrics import Metrics
from mmd_ddm.evaluation.reference import RealSide
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.precision import whole_products
from mmd_ddm.progress import Advance, progress

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

    @property
    def nfe(self) -> int:
        """Network evaluations an image."""
        return len(self.sampler.timesteps)

    def score(self, measures: Collection[str] = ("kid", "fid")) -> Metrics:
        """Measure the generated images in each space; see `measure`."""
        return measure(self.features(), self.real, measures)

    @torch.no_grad()
    def features(self) -> dict[str, Tensor]:
        """Features (N, D) of generated images after rounding to uint8, by space, gathered over workers."""
        together = FeatureMixture(list(self.spaces.values()))
        batches = range(0, self.images, SAMPLING_BATCH)
        mine = share(len(batches), self.collective)
        parts = [torch.empty(0, sum(together.dims), device=self.device)]
        with self._progress(len(mine)) as advance:
            for start in batches[mine.start : mine.stop]:
                images = self.sample(range(start, min(start + SAMPLING_BATCH, self.images)))
                with whole_products():
                    parts.append(together(from_uint8(to_uint8(images))))
                advance("")
        everyone = self.collective.gather_rows(torch.cat(parts))
        return {name: each.contiguous() for name, each in zip(self.spaces, together.split(everyone), strict=True)}

    def _progress(self, batches: int) -> AbstractContextManager[Advance]:
        """Shown by one worker: the others are about as far."""
        if self.collective.rank > 0:
            return nullcontext(lambda figures: None)
        return progress(f"scoring, {self.nfe} network evaluations", batches)

    @torch.no_grad()
    def sample(self, indices: range) -> Tensor:
        """Images (n, C, H, W) of some positions of the evaluation's noise."""
        noise = self.noise.draw(0, indices, self.sampler.draws, self.denoiser.image_shape).to(self.device)
        return self.sampler.sample(self.denoiser, noise)
