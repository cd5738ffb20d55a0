"""Morlet wavelets and their low-pass filter in the frequency domain (Bruna and Mallat 2013)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ORIENTATIONS = 8
_SIGMA, _FREQUENCY, _SLANT = 0.8, 3 * math.pi / 4, 4 / ORIENTATIONS


def morlet(size: int, scale: int) -> Tensor:
    """Return the Fourier transforms of eight wavelets on a size x size torus: 8 x size x size, real.

    psi^(w) = g(w - xi) - g(w) g(-xi) / g(0), of mean zero, where g is the Gaussian of standard deviation 0.8 2^scale
    pixels along the direction k pi / 8 and twice that across it, of sum 1, and |xi| = (3 pi / 4) / 2^scale.
    """
    wavelets = []
    for k in range(ORIENTATIONS):
        angle = k * math.pi / ORIENTATIONS
        xi = _FREQUENCY / 2**scale
        shifted, centred = (_gaussian(size, scale, angle, at) for at in (xi, 0.0))
        wavelets.append(shifted - centred * shifted[0, 0] / centred[0, 0])
    return torch.stack(wavelets)


def low_pass(size: int, scale: float) -> Tensor:
    """Return the Fourier transform of the Gaussian of 0.8 2^scale pixels on a line of `size` pixels, of sum 1."""
    frequencies = 2 * math.pi * torch.fft.fftfreq(size, dtype=torch.float64)
    return torch.stack([_bell(_SIGMA * 2**scale * (frequencies + 2 * math.pi * m)) for m in (-1, 0, 1)]).sum(0)


def _gaussian(size: int, scale: int, angle: float, along: float) -> Tensor:
    """Return the transform of a sampled Gaussian whose axis has an angle, moved by a frequency along that axis."""
    sigma = _SIGMA * 2**scale
    line = 2 * math.pi * torch.fft.fftfreq(size, dtype=torch.float64)
    total = torch.zeros(size, size, dtype=torch.float64)
    # what a sampled Gaussian of 0.8 pixels folds back from further away is below 1e-10
    periods = range(-2, 3) if scale == 0 else range(-1, 2)
    for down in periods:
        for right in periods:
            y, x = line[:, None] + 2 * math.pi * down, line[None, :] + 2 * math.pi * right
            first = math.cos(angle) * x + math.sin(angle) * y - along
            second = math.cos(angle) * y - math.sin(angle) * x
            total += _bell(sigma * first) * _bell(sigma * second / _SLANT)
    return total


def _bell(x: Tensor) -> Tensor:
    return (-x.square() / 2).exp()
