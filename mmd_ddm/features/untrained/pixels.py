"""The image itself, as a pyramid of the means of cells: a space that keeps colour and layout."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmd_ddm.features.untrained.statistics import Statistics, octaves, opponent

_FINEST = 4  # octave of the finest grid: 16 x 16 cells


class Pixels(Statistics):
    """Means of cells of 1, 2 x 2, ..., 16 x 16, each without the mean of the cell that holds it.

    Differences between scales, as in a Laplacian pyramid (Burt and Adelson 1983), keep the coarse structure, in which
    natural images have nearly all their energy, from being all that the fine scales tell.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        channels, resolution, _ = image_shape
        self.grids = tuple(2**k for k in range(min(octaves(resolution), _FINEST) + 1))
        super().__init__(tuple(channels * grid**2 for grid in self.grids))

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D differences of means of N x C x H x W images, coarse cells first."""
        cells = [nn.functional.adaptive_avg_pool2d(opponent(images), self.grids[-1])]
        for _ in self.grids[1:]:
            cells.insert(0, nn.functional.avg_pool2d(cells[0], 2))
        finer = zip(cells[1:], cells, strict=False)
        bands = [cells[0], *(fine - nn.functional.interpolate(coarse, scale_factor=2.0) for fine, coarse in finer)]
        return torch.cat([band.flatten(1) for band in bands], dim=1)
