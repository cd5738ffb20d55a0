"""The Frechet distance of a batch: its value by another library, its gradient by finite differences and in words."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from mmd_ddm.discrepancy.frechet import RealMoments, distance_and_gradient
from mmd_ddm.discrepancy.gaussian import fit

SIZES = [(5, 9, 40), (9, 4, 40), (6, 5, 40), (7, 9, 5)]  # N, D, M: N < D, N > D, N = D + 1, and a singular real side


def pair(n: int, d: int, m: int) -> tuple[Tensor, Tensor]:
    scales = torch.linspace(0.2, 2, d, dtype=torch.float64)
    mixing = torch.eye(d, dtype=torch.float64) + 0.2 * torch.randn(d, d, dtype=torch.float64)
    x, y = (torch.randn(count, d, dtype=torch.float64) for count in (n, m))
    return 1.2 * x * scales + 0.3, y * scales @ mixing


def by_scipy(x: Tensor, y: Tensor) -> float:
    """The formula with numpy's moments and scipy's root of a matrix, symmetric as it stands."""
    s_x, s_y = (np.cov(side.numpy(), rowvar=False) for side in (x, y))
    root = scipy.linalg.sqrtm(s_y).real
    cross = scipy.linalg.sqrtm(root @ s_x @ root + 1e-16 * np.eye(len(root))).real
    shift = (x.mean(0) - y.mean(0)).square().sum()
    return float(shift) + float(np.trace(s_x + s_y - 2 * cross))


@pytest.mark.parametrize(("n", "d", "m"), SIZES)
def test_value_equals_scipys(n: int, d: int, m: int) -> None:
    x, y = pair(n, d, m)
    found, _ = distance_and_gradient(x, RealMoments.of(fit(y)))
    # roots of rounding errors of zeros, 1e-8 each, are in theirs
    assert float(found) == pytest.approx(by_scipy(x, y), rel=1e-6)
    in_float32, _ = distance_and_gradient(x.float(), RealMoments.of(fit(y)))
    assert float(in_float32) == pytest.approx(float(found), rel=1e-5)  # the moments are those of rounded features


@pytest.mark.parametrize(("n", "d", "m"), SIZES)
def test_gradient_by_finite_differences(n: int, d: int, m: int) -> None:
    x, y = pair(n, d, m)
    real = RealMoments.of(fit(y))
    _, gradient = distance_and_gradient(x, real)
    step, found = 1e-5, torch.empty_like(x)
    for i in range(n):
        for j in range(d):
            moved = torch.zeros_like(x)
            moved[i, j] = step
            ends = [float(distance_and_gradient(x + sign * moved, real)[0]) for sign in (1, -1)]
            found[i, j] = (ends[0] - ends[1]) / (2 * step)
    # the error is of order step^2 over the square of the smallest singular value, here above 0.01, plus 1e-15 / step
    torch.testing.assert_close(gradient, found, rtol=1e-5, atol=1e-7)


def test_one_dimension_by_hand() -> None:
    """x = (0, 2, 4), y = (1, 3, 8): means 2 and 4, deviations 2 and sqrt(13): 4 + (2 - sqrt(13))^2."""
    x, y = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([[1.0], [3.0], [8.0]])
    value, gradient = distance_and_gradient(x, RealMoments.of(fit(y)))
    lacking = 2 - math.sqrt(13)
    assert float(value) == pytest.approx(4 + lacking**2)
    # 2 (m - m_r) / 3, and 2 (s - s_r) ds/dx_i with ds/dx_i = (x_i - m) / (2 s)
    expected = [2 * -2 / 3 + 2 * lacking * (each - 2) / 4 for each in (0, 2, 4)]
    assert gradient[:, 0].tolist() == pytest.approx(expected)


def test_features_that_coincide_have_a_finite_gradient() -> None:
    """Of all that is missing only the mean has a direction."""
    _, y = pair(5, 4, 40)
    value, gradient = distance_and_gradient(torch.ones(3, 4), RealMoments.of(fit(y)))
    shift = 1 - y.mean(0)
    assert float(value) == pytest.approx(float(shift.square().sum() + fit(y).covariance.trace()))
    torch.testing.assert_close(gradient, (2 / 3 * shift).expand(3, 4))


def test_what_is_not_finite_is_said_and_not_raised() -> None:
    _, y = pair(5, 4, 40)
    value, gradient = distance_and_gradient(torch.tensor([[math.inf] * 4, [0.0] * 4]), RealMoments.of(fit(y)))
    assert math.isnan(float(value))
    assert bool(gradient.isnan().all())


def test_a_batch_is_biased_towards_too_little_variety() -> None:
    """Batches of the real distribution itself are at a distance above zero, and shrinking them lowers it."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(4000, 20, dtype=torch.float64, generator=generator)
    real = RealMoments.of(fit(y))

    def mean(scale: float) -> float:
        batches = (y[start : start + 40] for start in range(0, 4000, 40))
        return sum(float(distance_and_gradient(scale * batch, real)[0]) for batch in batches) / 100

    # |m|^2 is 20/40; the singular values of 40 x 20 normal numbers have a mean below 1: about 1 - 1/8 * 20/40
    assert mean(1.0) > 1
    assert mean(0.94) < mean(1.0)
