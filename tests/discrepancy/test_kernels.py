"""Kernels at points, their laws, and how they are written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmd_ddm.discrepancy.kernels import (
    Cubic,
    Energy,
    Gaussian,
    Kernel,
    Linear,
    RationalQuadratic,
    Scaled,
    Sum,
)
from mmd_ddm.discrepancy.make_kernel import make_kernel, resolve_bandwidth
from mmd_ddm.discrepancy.specification import leaves_bandwidth_open, parse_kernel
from mmd_ddm.errors import UserError

KERNELS = [Linear(), Cubic(), Gaussian(1.7), RationalQuadratic(0.8), RationalQuadratic(2.0, 0.5)]
KERNELS.append(Sum((Scaled(0.1, Cubic()), Gaussian(0.5), Linear())))
CONDITIONAL = [Energy(), Sum((Scaled(0.1, Cubic()), Energy()))]
X = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
Y = torch.tensor([[0.5, -1.0, 3.0]], dtype=torch.float64)  # x.y = -4.5, |x-y|^2 = 0.25 + 9 + 16 = 25.25


def test_values_at_a_point() -> None:
    assert float(Linear()(X, Y)) == pytest.approx(-4.5)
    assert float(Cubic()(X, Y)) == pytest.approx((-4.5 / 3 + 1) ** 3)
    assert float(Energy()(X, Y)) == pytest.approx(-math.sqrt(25.25))
    assert float(Gaussian(2.0)(X, Y)) == pytest.approx(math.exp(-25.25 / 8))
    assert float(RationalQuadratic(2.0)(X, Y)) == pytest.approx(1 / (1 + 25.25 / 8))
    assert float(RationalQuadratic(2.0, 0.5)(X, Y)) == pytest.approx((1 + 25.25 / 4) ** -0.5)
    assert float(Scaled(0.1, Linear())(X, Y)) == pytest.approx(-0.45)
    assert float(Sum((Linear(), Cubic()))(X, Y)) == pytest.approx(-4.5 - 0.125)


@pytest.mark.parametrize("kernel", KERNELS + CONDITIONAL, ids=str)
def test_laws(kernel: Kernel) -> None:
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    block = kernel(x, y)
    assert block.shape == (9, 6)
    torch.testing.assert_close(block, kernel(y, x).T)
    torch.testing.assert_close(block[2:3, 4:5], kernel(x[2:3], y[4:5]))
    # positive definite, or so among numbers that sum to zero: no eigenvalue below rounding of the largest
    matrix = kernel(x, x)
    if kernel in CONDITIONAL:
        centring = torch.eye(9, dtype=torch.float64) - 1 / 9
        matrix = centring @ matrix @ centring
    values = torch.linalg.eigvalsh(matrix)
    assert float(values.min()) > -1e-12 * float(values.max())


@pytest.mark.parametrize("kernel", KERNELS + CONDITIONAL, ids=str)
def test_gradient_by_finite_differences(kernel: Kernel) -> None:
    x, y = torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(2, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: kernel(x, y), (x,))


@pytest.mark.parametrize("kernel", [RationalQuadratic(1.0), Energy()], ids=str)
def test_equal_features_have_a_finite_gradient(kernel: Kernel) -> None:
    x = torch.ones(3, 4, requires_grad=True)
    kernel(x, x.detach()).sum().backward()
    assert torch.equal(x.grad, torch.zeros(3, 4))


def test_bandwidths() -> None:
    real = torch.randn(301, 8, dtype=torch.float64)
    assert resolve_bandwidth("dim", real) == pytest.approx(2.0)  # sigma^2 = d/2: exp(-|x-y|^2 / d)
    distances = [float((real[i] - real[j]).norm()) for i in range(301) for j in range(i)]
    assert resolve_bandwidth("median", real) == pytest.approx(float(np.median(distances)))
    assert resolve_bandwidth(0.3, real) == 0.3
    assert resolve_bandwidth("0.5*dim", real) == pytest.approx(1.0)
    assert resolve_bandwidth("3*median", real) == pytest.approx(3 * float(np.median(distances)))


def test_specifications() -> None:
    real = torch.randn(50, 8, dtype=torch.float64)
    assert make_kernel(parse_kernel("cubic"), real) == Cubic()
    assert make_kernel(parse_kernel("0.1*cubic+energy"), real) == CONDITIONAL[1]
    assert make_kernel(parse_kernel("rbf:dim"), real) == Gaussian(2.0)
    assert make_kernel(parse_kernel("rbf", 0.5), real) == Gaussian(0.5)
    assert make_kernel(parse_kernel("rbf", "0.5"), real) == Gaussian(0.5)
    assert make_kernel(parse_kernel("rbf"), real) == Gaussian(resolve_bandwidth("median", real))
    assert make_kernel(parse_kernel("cubic + rational_quadratic:2+rbf", "dim"), real) == Sum(
        (Cubic(), RationalQuadratic(2.0), Gaussian(2.0))
    )
    weighted = make_kernel(parse_kernel("0.1 * cubic + 2e-1*rbf:2+1*rational_quadratic:0.5*dim"), real)
    assert weighted == Sum((Scaled(0.1, Cubic()), Scaled(0.2, Gaussian(2.0)), RationalQuadratic(1.0)))
    assert leaves_bandwidth_open("cubic+0.1*rbf")
    assert not leaves_bandwidth_open("0.1*cubic+rbf:0.5*dim")


@pytest.mark.parametrize(
    ("text", "bandwidth", "told"),
    [
        ("quartic", None, "quartic.*linear, cubic, energy, rbf"),
        ("", None, "is not known"),
        ("cubic+", None, "is not known"),
        ("cubic:1", None, "cubic:1"),
        ("energy:1", None, "energy:1"),
        ("rbf:-1", None, "-1.*positive"),
        ("rbf:wide", None, "wide.*dim, median"),
        ("rbf:nan", None, "nan"),
        ("0*cubic", None, "weight '0'.*positive"),
        ("-1*cubic+rbf", None, "weight '-1'.*positive"),
        ("inf*rbf:2", None, "weight 'inf'.*positive"),
        ("*cubic", None, "weight ''.*positive"),
        ("0.5*", None, "is not known"),
        ("cubic", "dim", "bandwidth is dim.*no term"),
        ("energy", "dim", "bandwidth is dim.*no term"),
        ("rbf:1", 2.0, "no term"),
        ("rbf", 0, "positive"),
        ("rbf", "-1*median", "-1.*median.*positive"),
        ("rbf", "2*mean", "multiple such as"),
        ("rbf:half*median", None, "multiple such as"),
    ],
)
def test_wrong_specifications(text: str, bandwidth: float | str | None, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_kernel(text, bandwidth)
