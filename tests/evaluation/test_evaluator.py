"""KID and FID against torch-fidelity on the same features, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

from mmd_ddm.discrepancy.gaussian import Gaussian
from mmd_ddm.evaluation.measures.fid import fid, frechet_distance
from mmd_ddm.evaluation.measures.kid import kid


def features(count: int, dim: int, shift: float) -> torch.Tensor:
    mixing = torch.randn(dim, dim, generator=torch.Generator().manual_seed(1)) / math.sqrt(dim)
    return torch.nn.functional.softplus(torch.randn(count, dim) @ mixing + shift)


@pytest.mark.parametrize("dim", [16, 200])
def test_fid_equals_torch_fidelity(dim: int) -> None:
    x, y = features(700, dim, 0.2), features(900, dim, 0.0)
    statistics = [fid_features_to_statistics(f) for f in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid(x, y) == pytest.approx(theirs, rel=1e-4)


def test_fid_of_fewer_images_than_dimensions_equals_torch_fidelity() -> None:
    x, y = features(50, 120, 0.2), features(70, 120, 0.0)
    statistics = [fid_features_to_statistics(f) for f in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid(x, y) == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("dim", [16, 200])
def test_kid_equals_torch_fidelity_on_one_subset_of_all(dim: int) -> None:
    x, y = features(800, dim, 0.2), features(800, dim, 0.0)
    theirs = kid_features_to_metric(x, y, kid_subsets=1, kid_subset_size=800, verbose=False)
    assert kid(x, y).mmd2 == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


def test_kid_equals_torch_fidelity_mean_over_subsets_within_its_error() -> None:
    x, y = features(1500, 16, 0.2), features(1000, 16, 0.0)
    theirs = kid_features_to_metric(x, y, kid_subsets=200, kid_subset_size=300, verbose=False)
    deviation = theirs["kernel_inception_distance_std"] / math.sqrt(200)
    assert abs(kid(x, y).mmd2 - theirs["kernel_inception_distance_mean"]) < 5 * deviation


def test_frechet_distance_of_axis_aligned_gaussians() -> None:
    """|m|^2 + sum (s_i - t_i)^2 for diagonal covariances s^2 and t^2, a zero among them."""
    s, t, m = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 2.0, 0.0], [3.0, 0.5, 1.0], [0.1, 0.2, -0.3]))
    expected = 0.14 + 4 + 2.25 + 1
    distance = frechet_distance(Gaussian(m, torch.diag(s**2)), Gaussian(torch.zeros_like(m), torch.diag(t**2)))
    assert distance == pytest.approx(expected, rel=1e-12)


def test_fid_is_exact_under_rotation() -> None:
    x, y = features(400, 12, 0.1).double(), features(300, 12, 0.0).double()
    rotation = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64)).Q
    assert fid(x @ rotation, y @ rotation) == pytest.approx(fid(x, y), rel=1e-9)


def test_uint8_rounding_is_what_diffusers_writes() -> None:
    from diffusers.image_processor import VaeImageProcessor

    from mmd_ddm.evaluation.evaluator import from_uint8, to_uint8

    images = torch.rand(3, 1, 5, 4) * 2.6 - 1.3
    array = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    pils = VaeImageProcessor.numpy_to_pil(array)
    theirs = torch.from_numpy(np.stack([np.asarray(p) for p in pils]))[:, None]
    assert torch.equal(to_uint8(images), theirs)
    assert torch.equal(to_uint8(from_uint8(theirs)), theirs)


def test_floor_of_sorted_data_is_about_zero() -> None:
    from mmd_ddm.evaluation.floor import real_floor

    # two clusters one after the other: the halves as stored would be far apart
    clusters = torch.cat([torch.randn(200, 6), torch.randn(200, 6) + 2])
    floor = real_floor(clusters)
    assert abs(floor.kid) < 4 * floor.kid_deviation / math.sqrt(10)
    assert kid(clusters[:200], clusters[200:]).mmd2 > 20 * floor.kid_deviation
    assert floor == real_floor(clusters)
    assert floor != real_floor(clusters, seed=1)
