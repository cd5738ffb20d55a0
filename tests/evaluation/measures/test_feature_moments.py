"""Mean, covariance and FID of features in batches and on workers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmd_ddm.discrepancy.collective import Collective, share
from mmd_ddm.evaluation.measures.feature_moments import FeatureMoments
from mmd_ddm.evaluation.measures.fid import Gaussian, fit, frechet_distance
from tests.evaluation.workers import run_workers

DIM = 300  # more than a panel


def sorted_features(count: int, offset: float) -> torch.Tensor:
    """Ten classes one after the other, all far from zero: what shifted sums must stand."""
    classes = torch.randn(10, DIM, generator=torch.Generator().manual_seed(1)).double()
    return offset + torch.randn(count, DIM).double() * 0.1 + classes[torch.arange(count) * 10 // count]


@pytest.mark.parametrize("batch", [1, 7, 64, 5000])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_batches_give_numpys_mean_and_covariance(batch: int, offset: float) -> None:
    features = sorted_features(410, offset)
    moments = FeatureMoments(DIM)
    for part in features.split(batch):
        moments.add(part)
    moments.add(features[:0])
    theirs = torch.from_numpy(np.cov(features.numpy(), rowvar=False))
    rounding = 1e-15 * max(1, offset)  # of an element; the errors of 410 terms add up as a random walk
    assert moments.count == 410
    assert torch.allclose(moments.mean, features.mean(0), rtol=0, atol=10 * rounding)
    assert torch.allclose(moments.covariance, theirs, rtol=0, atol=100 * rounding)
    assert torch.equal(moments.covariance, moments.covariance.T)


@pytest.mark.parametrize("world", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 33, 400])
def test_fid_does_not_depend_on_workers_and_batches(world: int, batch: int) -> None:
    features, real = sorted_features(400, 3.0), fit(sorted_features(500, 3.01))

    def mine(collective: Collective) -> float:
        where, moments = share(len(features), collective), FeatureMoments(DIM)
        for part in features[where.start : where.stop].split(batch):
            moments.add(part)
        moments.sum_over(collective)
        assert moments.count == len(features)
        return frechet_distance(Gaussian(moments.mean, moments.covariance), real)

    assert run_workers(world, mine) == pytest.approx([frechet_distance(fit(features), real)] * world, rel=1e-8)


def test_workers_without_features_and_features_after_the_sum() -> None:
    features = sorted_features(90, 2.0)

    def mine(collective: Collective) -> FeatureMoments:
        moments = FeatureMoments(DIM)
        if collective.rank == 1:
            moments.add(features[:80])
        moments.sum_over(collective)
        moments.add(features[80:])
        return moments

    for moments in run_workers(3, mine):
        assert torch.allclose(moments.covariance, fit(features).covariance, rtol=0, atol=1e-13)


def test_float32_features_are_summed_in_float64() -> None:
    """100 + ±1e-3 in float32: sums of squares in float32 would lose the spread altogether."""
    features = 100 + 1e-3 * torch.sign(torch.randn(5000, 2))
    moments = FeatureMoments(2)
    for part in features.split(100):
        moments.add(part)
    spread = moments.covariance.diagonal().sqrt()
    assert spread.tolist() == pytest.approx([1e-3] * 2, rel=0.02)  # float32 has steps of 7.6e-6 at 100
    assert math.isclose(float(spread[0]), float(features[:, 0].double().std()), rel_tol=1e-9)
