"""Mean and covariance piece by piece, and the Frechet distance of singular, ill-conditioned and large covariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from mmd_ddm.discrepancy.gaussian import PANEL, Gaussian, fit
from mmd_ddm.evaluation.measures.fid import fid, frechet_distance


@pytest.mark.parametrize("piece", [1, 7, 64, 5000])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_pieces_give_numpys_mean_and_covariance(monkeypatch: pytest.MonkeyPatch, piece: int, offset: float) -> None:
    """Ten classes one after the other, all far from zero: what shifted sums must stand."""
    classes = torch.randn(10, PANEL + 44, generator=torch.Generator().manual_seed(1)).double()
    features = offset + torch.randn(410, PANEL + 44).double() * 0.1 + classes[torch.arange(410) * 10 // 410]
    monkeypatch.setattr("mmd_ddm.discrepancy.gaussian.PIECE", piece)
    mean, covariance = fit(features)
    theirs = torch.from_numpy(np.cov(features.numpy(), rowvar=False))
    rounding = 1e-15 * max(1, offset)  # of an element; the errors of 410 terms add up as a random walk
    assert torch.allclose(mean, features.mean(0), rtol=0, atol=10 * rounding)
    assert torch.allclose(covariance, theirs, rtol=0, atol=100 * rounding)
    assert torch.equal(covariance, covariance.T)


def test_float32_features_are_summed_in_float64() -> None:
    """100 + ±1e-3 in float32: sums of squares in float32 would lose the spread altogether."""
    features = 100 + 1e-3 * torch.sign(torch.randn(5000, 2))
    spread = fit(features).covariance.diagonal().sqrt()
    assert spread.tolist() == pytest.approx([1e-3] * 2, rel=0.02)  # float32 has steps of 7.6e-6 at 100
    assert math.isclose(float(spread[0]), float(features[:, 0].double().std()), rel_tol=1e-9)


def by_factors(x: Tensor, y: Tensor) -> float:
    """The distance from centred features: tr((S_x S_y)^(1/2)) is the nuclear norm of X Y^T / sqrt((N-1)(M-1))."""
    a, b = ((side - side.mean(0)) / math.sqrt(len(side) - 1) for side in (x, y))
    shift = (x.mean(0) - y.mean(0)).square().sum()
    return float(shift + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum())


def theirs(x: Tensor, y: Tensor) -> float:
    statistics = [fid_features_to_statistics(side) for side in (x, y)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"])


def pair(n: int, m: int, dim: int, decay: float) -> tuple[Tensor, Tensor]:
    """Features whose variances fall from 1 to 10^-decay, in rotated axes."""
    scales = torch.logspace(0, -decay / 2, dim, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64)).Q
    x, y = (torch.randn(count, dim, dtype=torch.float64) * scales @ rotation.T for count in (n, m))
    return x + 0.5, 1.05 * y + 0.52


@pytest.mark.parametrize("decay", [0, 3, 6])
def test_full_rank_equals_torch_fidelity(decay: float) -> None:
    x, y = pair(900, 700, 200, decay)
    assert fid(x, y) == pytest.approx(theirs(x, y), rel=1e-6)
    assert fid(x, y) == pytest.approx(by_factors(x, y), rel=1e-10)


@pytest.mark.parametrize("decay", [10, 14, 18])
def test_ill_conditioned_covariances_equal_the_closed_form(decay: float) -> None:
    x, y = pair(900, 700, 200, decay)
    assert fid(x, y) == pytest.approx(by_factors(x, y), rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(50, 70), (50, 900), (900, 50)])
@pytest.mark.parametrize("decay", [0, 8])
def test_fewer_images_than_dimensions_equal_the_closed_form(n: int, m: int, decay: float) -> None:
    x, y = pair(n, m, 300, decay)
    assert fid(x, y) == pytest.approx(by_factors(x, y), rel=1e-10)
    assert fid(x, y) == pytest.approx(theirs(x, y), rel=1e-3)  # square roots of rounding errors are in theirs


def test_almost_equal_sets_of_few_images() -> None:
    x, _ = pair(60, 60, 300, 4)
    y = x + 1e-3 * torch.randn_like(x)
    assert fid(x, y) == pytest.approx(by_factors(x, y), rel=1e-8)
    assert fid(x, x) == pytest.approx(0, abs=1e-12)


def test_what_rounding_leaves_of_a_zero_is_a_zero() -> None:
    """Variances (1, 1e-16) and (1, 1): the root of 1e-16, which Cholesky's factor has, would make 1 into 1 - 2e-8."""
    zero, eye = torch.zeros(2).double(), torch.eye(2).double()
    almost = Gaussian(zero, torch.diag(torch.tensor([1.0, 1e-16]).double()))
    assert frechet_distance(almost, Gaussian(zero, eye)) == pytest.approx(1, abs=1e-12)


def test_constant_features() -> None:
    point, line = torch.zeros(5, 3).double(), torch.tensor([[0.0, 0, 0], [2, 0, 0]]).double()
    assert fid(point, point) == 0
    assert fid(line, point) == pytest.approx(1 + 2)  # shift 1; variance of {0, 2} with N - 1


@pytest.mark.slow
def test_size_of_the_spatial_features() -> None:
    """D = 2023, sFID: covariances that commute, sum (s_i - t_i)^2, some variances zero as behind dead channels."""
    dim = 2023
    s, t = torch.rand(2, dim, dtype=torch.float64)
    s[::50], t[::70] = 0, 0
    axis = torch.nn.functional.normalize(torch.randn(dim, dtype=torch.float64), dim=0)

    def reflected(scales: Tensor) -> Tensor:
        """H diag(scales^2) H with H = I - 2 a a^T."""
        rows = torch.diag(scales**2)
        rows = rows - 2 * torch.outer(rows @ axis, axis)
        return rows - 2 * torch.outer(axis, axis @ rows)

    mean = torch.randn(dim, dtype=torch.float64) / 50
    distance = frechet_distance(Gaussian(mean, reflected(s)), Gaussian(torch.zeros_like(mean), reflected(t)))
    assert distance == pytest.approx(float(mean.square().sum() + (s - t).square().sum()), rel=1e-9)
