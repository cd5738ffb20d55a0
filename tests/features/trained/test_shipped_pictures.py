"""The networks that ship for the embedded pictures: small, strong enough, and with an eye for what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.registry import available_feature_spaces, weakness_of, weights_of
from mmd_ddm.features.trained.neighbours import neighbour_accuracy
from mmd_ddm.features.trained.weights import NAMES

SET = "cifar10_small"
SOME = torch.arange(0, 8000, 10)  # as many of each of ten classes


@pytest.fixture(scope="module")
def real() -> Tensor:
    return load_dataset(dataset_spec(SET)).floats(SOME)


def test_they_are_there_small_and_not_weak() -> None:
    assert set(NAMES) <= set(available_feature_spaces(SET))
    for name in ("classifier", "contrastive"):
        file = weights_of(name, SET).file
        assert file is not None
        assert file.stat().st_size < 1_400_000
        assert weakness_of(name, SET) is None


@pytest.mark.parametrize("name", NAMES)
def test_what_is_near_in_features_is_alike(name: str, real: Tensor) -> None:
    labels = load_dataset(dataset_spec(SET)).labels
    assert labels is not None
    space = load_feature_space(name, SET)
    features, mine = space(real), labels[SOME]
    found = neighbour_accuracy(features[::2], mine[::2], features[1::2], mine[1::2])
    assert found > 0.1 + 6 * (0.1 * 0.9 / 400) ** 0.5  # of 400 guesses among ten, six deviations above chance
    pixels = real.flatten(1)
    assert found > neighbour_accuracy(pixels[::2], mine[::2], pixels[1::2], mine[1::2])


@pytest.mark.parametrize("name", NAMES)
def test_blur_and_noise_are_seen_and_grey_by_the_classifier(name: str, real: Tensor) -> None:
    space = load_feature_space(name, SET)
    half, other = space(real[::2]), space(real[1::2])
    chance = kid(half, other)
    assert abs(chance.mmd2) < 4 * chance.standard_error
    blurred = torch.nn.functional.avg_pool2d(real[1::2], 3, stride=1, padding=1, count_include_pad=False)
    noisy = real[1::2] + 0.2 * torch.randn(400, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    grey = real[1::2].mean(1, keepdim=True).expand(-1, 3, -1, -1)
    # the contrastive one was shown images without colour as views of the coloured ones: it has no eye for it
    for spoilt in (blurred, noisy, *([grey] if name.startswith("classifier") else [])):
        assert kid(half, space(spoilt)).mmd2 > 10 * chance.standard_error  # as many deviations of equal halves
