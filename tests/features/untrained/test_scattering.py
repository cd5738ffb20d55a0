"""Wavelets against their formula in space, and the transform on waves whose coefficients are known."""

from __future__ import annotations

import math

import pytest
import torch

from mmd_ddm.features.untrained.morlet import low_pass, morlet
from mmd_ddm.features.untrained.scattering import Scattering
from mmd_ddm.features.untrained.statistics import LEVEL

CORNER = 1e-6


def network(channels: int, side: int) -> Scattering:
    return Scattering((channels, side, side)).double()


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_wavelets_are_morlets_in_space(scale: int) -> None:
    """Gaussian times wave, sampled and wrapped around the torus, less the multiple of the Gaussian that it averages."""
    size, sigma, xi = 32, 0.8 * 2**scale, 3 * math.pi / 4 / 2**scale
    at = torch.arange(-5 * size, 5 * size, dtype=torch.float64)
    for k, found in enumerate(torch.fft.ifft2(morlet(size, scale))):
        angle = k * math.pi / 8
        along = math.cos(angle) * at[None, :] + math.sin(angle) * at[:, None]
        across = math.cos(angle) * at[:, None] - math.sin(angle) * at[None, :]
        bell = torch.exp(-(along**2 + across**2 / 4) / (2 * sigma**2)) / (4 * math.pi * sigma**2)
        wave = torch.exp(1j * xi * along)
        psi = bell * (wave - (bell * wave).sum() / bell.sum())
        wrapped = psi.reshape(10, size, 10, size).sum((0, 2))
        torch.testing.assert_close(found, wrapped, rtol=0, atol=1e-12)


def test_wavelets_have_no_mean_and_cover_the_plane() -> None:
    """Littlewood-Paley: every frequency is kept about alike, so that little of an image's energy is lost or doubled."""
    size, scales = 64, 3
    filters = torch.cat([morlet(size, j) for j in range(scales)])
    assert filters[:, 0, 0].abs().max() < 1e-15
    one = low_pass(size, scales)
    opposite = filters.flip(1, 2).roll((1, 1), (1, 2))
    kept = torch.outer(one, one) ** 2 + (filters**2 + opposite**2).sum(0) / 2
    line = torch.fft.fftfreq(size, dtype=torch.float64) * 2
    disc = torch.hypot(line[:, None], line[None, :]) < 0.9
    assert 0.25 < kept[disc].min() < kept.max() < 1.5


@pytest.mark.parametrize(("j", "direction"), [(0, 0), (1, 0), (0, 4), (1, 4), (2, 2)])
def test_wave_has_the_modulus_that_the_filter_says(j: int, direction: int) -> None:
    """|x * psi| of A cos(w x) is A/2 |psi^(w) e^iwx + psi^(-w) e^-iwx|, kept at every 2^j-th pixel."""
    scattering, amplitude = network(1, 32), 0.7
    size = scattering.padded
    wave = {0: (0, 18 >> j), 4: (18 >> j, 0), 2: (3, 3)}[direction]  # in 48ths: 3 pi / 4, its half; of length 3 pi / 16
    at = 2 * math.pi / size * torch.arange(size, dtype=torch.float64)
    phase = wave[0] * at[:, None] + wave[1] * at[None, :]
    found = scattering._filtered(torch.fft.fft2(amplitude * phase.cos()), 0, j)
    there, back = morlet(size, j)[:, wave[0], wave[1]], morlet(size, j)[:, -wave[0], -wave[1]]
    kept = phase[:: 2**j, :: 2**j]
    sums = there[:, None, None] * torch.exp(1j * kept) + back[:, None, None] * torch.exp(-1j * kept)
    expected = ((amplitude / 2 * sums.abs()) ** 2 + CORNER).sqrt()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert found.mean((1, 2)).argmax() == direction


def test_wave_lights_up_its_own_coefficient() -> None:
    """On 33 pixels cos(3 pi / 4 x) goes on through reflection at both ends, so that borders change nothing."""
    scattering = network(1, 33)
    wave = torch.cos(3 * math.pi / 4 * torch.arange(33, dtype=torch.float64))
    zero, one, _ = scattering(wave.expand(1, 1, 33, 33)).split(scattering.groups, dim=1)
    one = one.reshape(3, 8, 4)  # scales, directions, cells
    size = scattering.padded
    there, back = (morlet(size, 0)[0, 0, k * size // 8] for k in (3, -3))
    phase = 3 * math.pi / 4 * torch.arange(8, dtype=torch.float64)  # all that there are
    expected = float((there * torch.exp(1j * phase) + back * torch.exp(-1j * phase)).abs().mean()) / 2
    assert (one.exp() - LEVEL)[0, 0].tolist() == pytest.approx([expected] * 4, rel=1e-3)
    assert one.mean(2).flatten().argmax() == 0
    assert zero.abs().max() < 1e-3  # the low-pass filter of 6.4 pixels leaves exp(-(2.36 * 6.4)^2 / 2) of it


def test_moved_images_have_moved_coefficients() -> None:
    scattering = network(1, 16)
    x = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for j in (0, 1):
        here = scattering._filtered(torch.fft.fft2(x), 0, j)
        there = scattering._filtered(torch.fft.fft2(x.roll((4, -2), (0, 1))), 0, j)
        torch.testing.assert_close(there, here.roll((4 >> j, -2 >> j), (1, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("side", [8, 16, 20, 27, 64])
def test_flat_image_is_its_own_mean(side: int) -> None:
    """Windows have sum 1, wavelets 0; in order 2 the floor is divided by itself."""
    scattering = network(1, side)
    zero, one, two = scattering(torch.full((1, 1, side, side), 0.3, dtype=torch.float64)).split(scattering.groups, 1)
    floor = math.log(CORNER**0.5 + LEVEL)
    for found, expected in ((zero, 0.3), (one, floor)):
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=1e-9)
    # a path's second wavelet sees the constant CORNER^0.5 as 0 again
    torch.testing.assert_close(two, torch.zeros_like(two), rtol=0, atol=1e-9)


def test_second_order_tells_bursts_from_an_even_texture() -> None:
    """Fine stripes that come and go along x have order-2 energy along x; even ones, on a side as above, have none."""
    at = torch.arange(33, dtype=torch.float64)
    stripes = torch.cos(3 * math.pi / 4 * at).expand(33, 33)
    bursts = stripes * (1 + torch.cos(3 * math.pi / 16 * at))
    scattering = network(1, 33)
    two = scattering(torch.stack([stripes, bursts])[:, None]).split(scattering.groups, 1)[2]
    path = 64  # after those of scales 0 and 1 that of scales 0 and 2, both along x
    assert two[1, path] > two[0, path] + 1
