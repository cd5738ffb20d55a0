"""Random numbers that depend on a seed and a position alone.

Whatever the micro-batches, the workers or the updates already done, sample `index` of update `update` gets the same
noise; so a resumed run equals an uninterrupted one and four workers compute what one would.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NoiseSource:
    """Standard normal images by position."""

    seed: int  # of the run, 0 or larger
    stream: str  # what the noise is for (`training`, `evaluation` ...); streams are independent

    def draw(
        self, update: int, indices: Iterable[int], draws: int, image_shape: tuple[int, ...]
    ) -> Float[Tensor, "{draws} N C H W"]:
        """The noise of some samples of one update, by their positions in the whole batch of all workers.

        Drawn on the CPU in float32 with one `torch.Generator` a sample, so that every device and dtype sees the
        same numbers, and `DDIMPipeline(generator=[...])` can draw them too. A sample needs `Chain.draws` images.
        """
        generators = [self.generator(update, index) for index in indices]
        samples = [torch.randn((draws, *image_shape), generator=generator) for generator in generators]
        return torch.stack(samples, dim=1)

    def generator(self, *position: int) -> torch.Generator:
        """A generator for one position, for anything that is not an image (a batch's rows, dropout masks)."""
        return torch.Generator().manual_seed(self.state(*position))

    def state(self, *position: int) -> int:
        """A 64-bit seed for one position."""
        entropy = (self.seed, crc32(self.stream.encode()), *position)
        return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
