"""One update of the shipped digits model, for tests and benchmarks of its cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.finetuning.gradient import GRADIENTS


@dataclass(frozen=True)
class DigitsUpdate:
    """The update of the paper's kernel in the contrastive space against the whole bank, in float32 on the CPU.

    Args:
        steps: S.
        batch: N.
        micro: samples of a micro-batch.
    """

    steps: int
    batch: int
    micro: int

    @cached_property
    def parts(self) -> Parts:
        config = Config().replace(
            dataset="digits", features="contrastive", score_features="contrastive", kernel="cubic",
            reference="bank", steps=self.steps, batch=self.batch, sampler="ddim", eta=0.0, dropout="eval",
        )  # fmt: skip
        return Parts(config, torch.device("cpu"), SingleCollective())

    @cached_property
    def noise(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        shape = (self.parts.chain.draws, self.batch, *self.parts.denoiser.image_shape)
        return torch.randn(shape, generator=generator)

    def prepare(self) -> None:
        """Load and compute all that is done once a run: model, chain, features of the real images."""
        self.parts.pipeline, self.parts.objective, self.noise  # noqa: B018

    def gradient(self, route: str) -> float:
        """Add the gradient of one update, by one of `GRADIENTS`, to fresh gradients; returns the loss."""
        self.parts.denoiser.zero_grad(set_to_none=True)
        starts = Start(self.noise).split(self.micro)
        return float(GRADIENTS[route](self.parts.pipeline, self.parts.objective, starts, 0))

    def plain(self) -> float:
        """The same by plain autograd of the whole batch, the mean over pairs of real images left out as a constant."""
        parts, real = self.parts, self.parts.objective.reference.at(0).shard
        parts.denoiser.zero_grad(set_to_none=True)
        x = parts.pipeline.embed(parts.chain.sample(parts.denoiser, self.noise))
        n, kernel, reference = len(x), parts.objective.kernel, parts.objective.reference
        within = kernel(x, x)
        repulsion = (within.sum() - within.diagonal().sum()) / (n * (n - 1))
        loss = repulsion - 2 * kernel(x, real).mean()
        loss.backward()
        return loss.item() + float(reference.at(0).within_mean)
