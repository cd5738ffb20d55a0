"""Seeded images that have the statistics of natural ones, to know the sizes of features without data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmd_ddm.features.untrained.statistics import DEVIATIONS, from_opponent

_SEED, _LEAVES = 2001, 120
_MOST, _FEWEST, _PIXELS = 256, 16, 2**18
_SMALLEST, _LARGEST = 1 / 16, 1 / 2  # radius of a leaf, in sides of the image


def synthetic_images(image_shape: tuple[int, int, int]) -> Tensor:
    """Return images made of dead leaves and 1/f noise, N x C x S x S in [-1, 1], float64; the same in every process.

    Leaves are discs whose number falls with the cube of their radius and which hide each other, so that the whole has
    the scale invariance and the edges of photographs (Lee, Mumford and Huang 2001); the noise is their texture. Images
    differ in brightness, contrast, colour and sharpness. There are 256 of them up to 32 x 32, fewer of larger ones.
    """
    channels, side, _ = image_shape
    count = min(max(_PIXELS // side**2, _FEWEST), _MOST)
    generator = torch.Generator().manual_seed(_SEED)
    texture = _noise(count, channels, side, generator)
    planes = 0.8 * _leaves(texture, generator) + 0.4 * texture
    contrast, colour = ((0.5 * _normal((count, 1, 1, 1), generator)).exp() for _ in range(2))
    planes = 0.4 * contrast * planes
    planes[:, 1:] *= 0.5 * colour
    planes += 0.25 * _deviations(channels) * _normal((count, channels, 1, 1), generator)  # brightness and colour cast
    planes *= math.sqrt(channels)  # a grey value v is sqrt(3) v in the orthonormal basis of opponent colours
    return from_opponent(planes).clamp(-1, 1)


def _noise(count: int, channels: int, side: int, generator: torch.Generator) -> Tensor:
    """Return noise of amplitude 1/f^a, a from 0.9 to 1.6, with deviations of natural opponent colours."""
    line = torch.fft.fftfreq(side, 1 / side, dtype=torch.float64)
    radius = torch.hypot(line[:, None], line[: side // 2 + 1].abs()[None, :])
    slope = 0.9 + 0.7 * torch.rand((count, 1, 1, 1), generator=generator, dtype=torch.float64)
    amplitude = radius.clamp(min=1) ** -slope
    amplitude[..., 0, 0] = 0
    white = torch.fft.rfft2(_normal((count, channels, side, side), generator))
    planes = torch.fft.irfft2(white * amplitude, s=(side, side))
    planes /= planes[:, :1].square().mean((1, 2, 3), keepdim=True).sqrt()
    noise: Tensor = planes * _deviations(channels)
    return noise


def _leaves(background: Tensor, generator: torch.Generator) -> Tensor:
    count, channels, side, _ = background.shape
    at = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    planes = background.clone()
    for _ in range(_LEAVES):
        x, y = torch.rand((2, count, 1, 1, 1), generator=generator, dtype=torch.float64) * 1.5 - 0.25
        u = torch.rand((count, 1, 1, 1), generator=generator, dtype=torch.float64)
        radius = (_SMALLEST**-2 * (1 - u) + _LARGEST**-2 * u) ** -0.5
        colour = _normal((count, channels, 1, 1), generator) * _deviations(channels)
        distance = ((at[:, None] - y).square() + (at[None, :] - x).square()).sqrt_()
        cover = distance.neg_().add_(radius).mul_(side).add_(0.5).clamp_(0, 1)  # a border of one pixel
        planes.lerp_(colour, cover)
    return planes


def _deviations(channels: int) -> Tensor:
    return DEVIATIONS[:channels].view(-1, 1, 1)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
