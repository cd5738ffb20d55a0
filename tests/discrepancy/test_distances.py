"""Distances in float32 against differences in float64, where the inner product alone would lose all digits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import mmd_ddm.discrepancy.distances as module
from mmd_ddm.discrepancy.distances import distances

EPS = torch.finfo(torch.float32).eps


def close_and_far(offset: float) -> tuple[Tensor, Tensor]:
    """30 features of y: x has 8 of them moved by about 1e-3, 4 unchanged, 7 others; all far from zero."""
    y = torch.randn(30, 20) + offset
    return torch.cat([y[:8] + 2e-4 * torch.randn(8, 20), y[8:12], torch.randn(7, 20) + offset + 1]), y


def by_differences(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances, and the gradients of sum_ij c_ij |x_i - y_j|, with no gradient from pairs that coincide."""
    difference = x.double()[:, None] - y.double()[None]
    found = difference.norm(dim=2)
    pull = weights(x, y)[..., None] * difference / found.clamp(min=1e-30)[..., None]
    return found, pull.sum(1), -pull.sum(0)


def weights(x: Tensor, y: Tensor) -> Tensor:
    return torch.linspace(-1, 2, len(x) * len(y), dtype=torch.float64).reshape(len(x), len(y))


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("pairs", [1, 1 << 22])
def test_float32_keeps_its_digits(offset: float, pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIR_ELEMENTS", pairs)
    x, y = (side.requires_grad_() for side in close_and_far(offset))
    found = distances(x, y)
    expected, of_x, of_y = by_differences(x.detach(), y.detach())
    # below the limit of 1e-2 the differences are exact; above it d^2 has an error of some eps * norms < 100 eps d^2
    torch.testing.assert_close(found.double(), expected, rtol=100 * EPS, atol=0)
    assert int((found == 0).sum()) == 4
    (found * weights(x, y).float()).sum().backward()
    # each gradient is a sum of 30 unit vectors of weight up to 2, whose parts x and y are ten times as long as they
    for gradient, wanted in ((x.grad, of_x), (y.grad, of_y)):
        assert gradient is not None
        assert float((gradient - wanted).norm(dim=1).max()) < 30 * 2 * 10 * EPS


def test_gradient_by_finite_differences() -> None:
    x, y = (torch.randn(n, 4, dtype=torch.float64) for n in (3, 5))
    with torch.no_grad():
        x[1] = y[2] + 1e-2  # a near pair, 1e4 times as far apart as a step of the differences
    assert torch.autograd.gradcheck(distances, (x.requires_grad_(), y.requires_grad_()))


def test_the_same_features_on_both_sides() -> None:
    """Each end of a pair is pulled: the gradient of sum_ij |x_i - x_j| is twice that of the rows alone."""
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    distances(x, x).sum().backward()
    assert x.grad is not None
    difference = x.detach()[:, None] - x.detach()[None]
    expected = 2 * (difference / difference.norm(dim=2, keepdim=True).clamp(min=1e-30)).sum(1)
    torch.testing.assert_close(x.grad, expected, rtol=1e-12, atol=1e-12)
