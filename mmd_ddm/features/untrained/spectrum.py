"""Logarithms of power spectra in windows: how much of each scale and direction an image has."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmd_ddm.features.untrained.statistics import LEVEL, Statistics, opponent

_ORIENTATIONS = 8


class Spectrum(Statistics):
    """Log power in rings and directions of the whole image, and in rings of 3 x 3 overlapping windows of half its side.

    Windows are Hann's, without their mean; rings are half an octave apart, directions pi / 8, both with soft edges.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        channels, side, _ = image_shape
        whole, part = torch.cat([_rings(side), _directions(side)]), _rings(side // 2)
        super().__init__((channels * len(whole), channels * 9 * len(part)))
        for name, bins, size in (("whole", whole, side), ("part", part, side // 2)):
            self.fixed(f"{name}_bins", bins.T)
            self.fixed(f"{name}_window", _hann(size))

    whole_bins: Tensor
    whole_window: Tensor
    part_bins: Tensor
    part_window: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D log powers of N x C x H x W images; white noise of variance v has log(v + floor) throughout."""
        planes = opponent(images)
        size = len(self.part_window)
        starts = [0, size // 2, planes.shape[-1] - size]
        parts = torch.stack([planes[..., y : y + size, x : x + size] for y in starts for x in starts], dim=2)
        found = [_log_power(planes, self.whole_window, self.whole_bins)]
        found.append(_log_power(parts, self.part_window, self.part_bins))
        return torch.cat([each.flatten(1) for each in found], dim=1)


def _log_power(planes: Tensor, window: Tensor, bins: Tensor) -> Tensor:
    """Return the log of the mean power in bins (F x B) of ... x S x S planes under an S x S window: ... x B."""
    mean = (planes * window).sum((-2, -1), keepdim=True) / window.sum()
    spectrum = torch.fft.rfft2((planes - mean) * window)
    power = (spectrum.real.square() + spectrum.imag.square()) / window.square().sum()
    logs: Tensor = (power.flatten(-2) @ bins + LEVEL**2).log()
    return logs


def _hann(size: int) -> Tensor:
    one = torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]
    return torch.outer(one, one)


def _frequencies(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the radius (in waves per window), angle and multiplicity of what rfft2 of a window returns."""
    y = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)[:, None]
    x = torch.fft.rfftfreq(size, 1 / size, dtype=torch.float64)[None, :]
    twice = torch.where((x > 0) & (x < size / 2), 2.0, 1.0).expand(size, -1)  # the half that rfft2 leaves out
    return torch.hypot(y, x), torch.atan2(y, x.expand(size, -1)), twice.double()


def _ring(size: int, centre: float) -> Tensor:
    radius, _, twice = _frequencies(size)
    away = (radius.clamp(min=1e-9) / centre).log2()
    return twice * (1 - away.abs() * 2).clamp(min=0) + twice * 1e-9 * (-away.square()).exp()


def _rings(size: int) -> Tensor:
    count = math.floor(2 * math.log2(size / math.sqrt(2)) + 1e-9) + 1
    return _normalised(torch.stack([_ring(size, 2 ** (k / 2)) for k in range(count)]))


def _directions(size: int) -> Tensor:
    _, angle, _ = _frequencies(size)
    octave = [2.0**k for k in range(1, math.floor(math.log2(size)))]
    around = [torch.cos(angle - k * math.pi / _ORIENTATIONS) ** (2 * _ORIENTATIONS - 2) for k in range(_ORIENTATIONS)]
    return _normalised(torch.stack([_octave(size, centre) * each for centre in octave for each in around]))


def _octave(size: int, centre: float) -> Tensor:
    radius, _, twice = _frequencies(size)
    return twice * (1 - (radius.clamp(min=1e-9) / centre).log2().abs()).clamp(min=0)


def _normalised(bins: Tensor) -> Tensor:
    return bins.flatten(1) / bins.flatten(1).sum(1, keepdim=True)
