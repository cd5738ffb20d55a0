"""The estimator against its definition, its expectation and its spread."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import energy_distance
from torch import Tensor

import mmd_ddm.discrepancy.mmd as mmd_module
from mmd_ddm.discrepancy.kernels import Cubic, Energy, Gaussian, Kernel, Linear
from mmd_ddm.discrepancy.mmd import mmd2, mmd2_with_error, sum_and_gradient, within_mean

KERNELS = [Linear(), Cubic(), Gaussian(1.5), Energy()]


def by_definition(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    """Paper, Equation 7 with N != M, term by term."""

    def k(a: Tensor, b: Tensor) -> float:
        return float(kernel(a[None], b[None]))

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("block", [1, 7, 1 << 24])
def test_definition_unequal_sizes_any_block(kernel: Kernel, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd_module, "BLOCK_ELEMENTS", block)
    monkeypatch.setattr(mmd_module, "SQUARE", min(block, 1024))
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(8, 3, dtype=torch.float64) + 0.4
    assert float(mmd2(x, y, kernel)) == pytest.approx(by_definition(x, y, kernel), rel=1e-12)
    assert mmd2_with_error(x, y, kernel).mmd2 == pytest.approx(by_definition(x, y, kernel), rel=1e-12)


def test_linear_kernel_by_hand() -> None:
    """x = (1, 2), y = (0, 1, 5) in one dimension: 2 - 2 * 3 * 2 / ... = xx 2, xy mean 3, yy mean 5/3."""
    x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0], [5.0]])
    assert float(mmd2(x, y, Linear())) == pytest.approx(2 - 2 * (1.5 * 2) + (0 * 1 + 0 * 5 + 1 * 5) / 3)


def test_energy_kernel_gives_scipys_energy_distance() -> None:
    """Theirs, in one dimension, is the root of the statistic with the diagonals: 1 - 1/N of our means."""
    x, y = torch.randn(11, 1, dtype=torch.float64), 2 * torch.randn(17, 1, dtype=torch.float64) + 1
    theirs = energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    within = float(within_mean(x, Energy())) / 11 + float(within_mean(y, Energy())) / 17
    assert float(mmd2(x, y, Energy())) - within == pytest.approx(theirs, rel=1e-12)


def test_linear_expectation_is_the_squared_distance_of_means() -> None:
    shift = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    values = [
        float(mmd2(torch.randn(10, 3).double() + shift, torch.randn(7, 3).double(), Linear())) for _ in range(1000)
    ]
    sample = torch.tensor(values)
    error = float(sample.std()) / math.sqrt(len(sample))
    assert abs(float(sample.mean()) - float(shift.square().sum())) < 4 * error  # 1 in 16 000 fails by chance


def test_gaussian_expectation_closed_form() -> None:
    """For N(m, I) and N(0, I) in d dimensions E k = (s^2/(s^2+2))^(d/2) exp(-|m|^2 / (2 (s^2+2)))."""
    d, s2, m2 = 4, 2.25, 0.36
    scale = (s2 / (s2 + 2)) ** (d / 2)
    expected = 2 * scale * (1 - math.exp(-m2 / (2 * (s2 + 2))))
    shift = torch.tensor([0.6, 0, 0, 0], dtype=torch.float64)
    kernel = Gaussian(1.5)
    values = [
        float(mmd2(torch.randn(30, d).double() + shift, torch.randn(20, d).double(), kernel)) for _ in range(1000)
    ]
    sample = torch.tensor(values)
    assert abs(float(sample.mean()) - expected) < 4 * float(sample.std()) / math.sqrt(len(sample))


@pytest.mark.parametrize("kernel", [Cubic(), Gaussian(1.5)], ids=str)
@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_standard_error_is_the_spread_of_repetitions(kernel: Kernel, shift: float) -> None:
    repetitions = 800
    results = [
        mmd2_with_error(torch.randn(40, 3).double() + shift, torch.randn(60, 3).double(), kernel)
        for _ in range(repetitions)
    ]
    spread = float(torch.tensor([r.mmd2 for r in results]).std())
    stated = math.sqrt(sum(r.standard_error**2 for r in results) / repetitions)
    # a standard deviation of 800 draws has relative error 1/sqrt(2*800) = 2.5 % where they are normal, and
    # sqrt((k-1)/2) times that for kurtosis k, about 12 for the null statistic of these kernels: 6 %, twice that here
    assert stated == pytest.approx(spread, rel=0.12)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("block", [5, 1 << 24])
def test_sum_and_gradient_equal_autograd(kernel: Kernel, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmd_module, "BLOCK_ELEMENTS", block)
    monkeypatch.setattr(mmd_module, "SQUARE", min(block, 1024))
    y = torch.randn(6, 3, dtype=torch.float64)
    x = y[2:5].clone().requires_grad_()
    off_diagonal = torch.ones(3, 6, dtype=torch.float64)
    for i in range(3):
        off_diagonal[i, i + 2] = 0
    expected = (kernel(x, y) * off_diagonal).sum()
    (gradient,) = torch.autograd.grad(expected, x)
    total, ours = sum_and_gradient(x.detach(), y, kernel, skip=2)
    assert float(total) == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(ours, gradient, rtol=1e-12, atol=1e-14)


def test_within_mean_of_identical_points() -> None:
    assert float(within_mean(torch.ones(5, 4), Gaussian(1.0))) == pytest.approx(1.0)
