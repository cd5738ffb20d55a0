"""The other spaces without training on images whose statistics are known."""

from __future__ import annotations

import math

import pytest
import scipy.fft
import torch
from torch import Tensor, nn

from mmd_ddm.features.untrained.patches import Patches
from mmd_ddm.features.untrained.pixels import Pixels
from mmd_ddm.features.untrained.random_conv import RandomConv
from mmd_ddm.features.untrained.spectrum import Spectrum
from mmd_ddm.features.untrained.statistics import LEVEL, from_opponent, opponent


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_opponent_colours_are_a_rotation() -> None:
    images = noise(2, 3, 4, 4)
    planes = opponent(images)
    torch.testing.assert_close(from_opponent(planes), images)
    torch.testing.assert_close(planes.square().sum(1), images.square().sum(1))
    assert opponent(torch.ones(1, 3, 1, 1)).flatten().tolist() == pytest.approx([math.sqrt(3), 0, 0], abs=1e-6)


@pytest.mark.parametrize("side", [8, 16])
def test_pixels_are_the_image(side: int) -> None:
    """Bands, enlarged and summed, are the image in opponent colours again."""
    images = noise(2, 3, side, side)
    pixels = Pixels((3, side, side)).double()
    bands = pixels(images).split(pixels.groups, dim=1)
    total = torch.zeros_like(images)
    for grid, band in zip(pixels.grids, bands, strict=True):
        total += nn.functional.interpolate(band.reshape(2, 3, grid, grid), scale_factor=side / grid)
    torch.testing.assert_close(total, opponent(images))
    torch.testing.assert_close(bands[0], opponent(images).mean((2, 3)))


def test_spectrum_of_white_noise_is_its_variance() -> None:
    """Of many images, in every bin; bins of one wave a window lose up to a tenth with the window's mean."""
    variance, count = 0.09, 4000
    spectrum = Spectrum((1, 16, 16)).double()
    powers = spectrum(variance**0.5 * noise(count, 1, 16, 16)).exp() - LEVEL**2
    whole, part = powers.split(spectrum.groups, dim=1)
    for found in (whole[:, 2:], part.unflatten(1, (9, -1))[:, :, 2:].flatten(1)):
        error = found.std(0) / count**0.5
        assert ((found.mean(0) - variance).abs() < 4 * error + 0.02 * variance).all()
    assert (powers.mean(0) > 0.5 * variance).all()


@pytest.mark.parametrize("direction", [0, 4])
def test_spectrum_knows_scale_and_direction_of_a_wave(direction: int) -> None:
    at = 2 * math.pi * torch.arange(16, dtype=torch.float64) / 16
    wave = torch.cos(4 * at).expand(16, 16)
    spectrum = Spectrum((1, 16, 16)).double()
    whole = spectrum((wave.T if direction else wave)[None, None])[0, : spectrum.groups[0]]
    rings, directions = whole[:-24], whole[-24:].reshape(3, 8)
    assert rings.argmax() == 4  # half octaves from one wave on
    assert directions.flatten().argmax() == 8 + direction  # octaves from two waves on


def test_patches_are_cosine_transforms() -> None:
    filters = Patches((1, 8, 8)).filters[:, 0].double()
    patch = noise(4, 4)
    found = (filters * patch).sum((1, 2))
    expected = torch.from_numpy(scipy.fft.dctn(patch.numpy(), norm="ortho")).flatten()[1:]
    torch.testing.assert_close(found, expected)


def test_patches_of_gaussian_noise() -> None:
    """Every coefficient has the noise's variance, the sparsity of a Gaussian, and no correlation between colours."""
    variance, side = 0.25, 256
    patches = Patches((3, side, side)).double()
    found = patches(variance**0.5 * noise(1, 3, side, side))[0, : patches.groups[0]]
    powers, sparsity, correlations = found.split((180, 45, 45))
    independent = (side / 4) ** 2 / 4  # patches that share no pixel, in a cell; chi^2 has deviation sqrt(2 / n)
    assert powers.sub(math.log(variance + LEVEL**2)).abs().max() < 4 * (2 / independent) ** 0.5
    assert sparsity.sub(math.log(2 / math.pi) / 2).abs().max() < 4 * 0.5 / (4 * independent) ** 0.5
    assert correlations.abs().max() < 4 / (4 * independent) ** 0.5


def test_patches_see_grey_and_coupled_colours() -> None:
    patches = Patches((3, 16, 16)).double()
    plane = noise(1, 1, 16, 16)
    grey = patches(plane.expand(-1, 3, -1, -1))[0, : patches.groups[0]]
    torch.testing.assert_close(grey[60:180], torch.full((120,), math.log(LEVEL**2)).double())
    assert grey[225:].abs().max() < 1e-9
    red = patches(torch.cat([plane, 0 * plane, 0 * plane], 1))[0, : patches.groups[0]]
    torch.testing.assert_close(red[225:], torch.ones(45).double(), rtol=0, atol=1e-2)  # less the floor


def test_random_filters_are_normalised_and_the_same_for_all() -> None:
    small, large = RandomConv((3, 8, 8)), RandomConv((3, 64, 64))
    for layer in range(4):
        filters = large.get_buffer(f"filters{layer}")
        torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(len(filters)).double())
        assert filters[1:].mean((1, 2, 3)).abs().max() < 1e-15
        assert filters[0].mean().abs() > 1e-5
        if layer < small.layers:
            assert torch.equal(small.get_buffer(f"filters{layer}"), filters)


def test_random_features_grow_with_contrast() -> None:
    """All are homogeneous of degree 1 but for the round corners: a grey level's size, grown 5 times a layer."""
    network, images = RandomConv((3, 16, 16)).double(), noise(2, 3, 16, 16)
    once, ten = network(images), network(10 * images) / 10
    assert (once - ten).abs().max() < 5**2 * LEVEL
    assert once.abs().mean() > 0.2
