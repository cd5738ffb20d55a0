"""Spherical interpolation in two dimensions and its invariants."""

from __future__ import annotations

import math

import pytest
import torch

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.figures.interpolation import slerp

FRACTIONS = [0.0, 0.1, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("angle", [1e-9, 1e-4, 0.3, math.pi / 2, 3.0])
def test_arcs_of_a_circle(angle: float) -> None:
    a = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    b = torch.tensor([[2 * math.cos(angle), 2 * math.sin(angle)]], dtype=torch.float64)
    expected = torch.tensor([[2 * math.cos(f * angle), 2 * math.sin(f * angle)] for f in FRACTIONS]).double()
    # relative to the angle too: an arc cosine would lose the small ones altogether
    assert torch.allclose(slerp(a, b, FRACTIONS)[0][:, 1], expected[:, 1], rtol=1e-7, atol=0)
    expected = torch.tensor([2 * math.cos(f * angle) for f in FRACTIONS], dtype=torch.float64)
    assert torch.allclose(slerp(a, b, FRACTIONS)[0][:, 0], expected, rtol=0, atol=1e-12)


def test_different_lengths_by_the_papers_equation() -> None:
    a, b = torch.tensor([[3.0, 0, 0]]).double(), torch.tensor([[1.0, 1, 0]]).double()  # 45 degrees
    first, second = math.sin(0.75 * math.pi / 4) / math.sin(math.pi / 4), math.sin(math.pi / 16) / math.sin(math.pi / 4)
    assert slerp(a, b, [0.25])[0, 0].tolist() == pytest.approx([3 * first + second, second, 0], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_end_points_are_exact_and_shapes_kept(dtype: torch.dtype) -> None:
    a, b = torch.randn(2, 6, 3, 8, 5).to(dtype)
    points = slerp(a, b, torch.tensor(FRACTIONS))
    assert points.shape == (6, 5, 3, 8, 5)
    assert points.dtype == dtype
    assert torch.equal(points[:, 0], a)
    assert torch.equal(points[:, -1], b)


def test_equal_norms_are_kept_and_steps_are_equal() -> None:
    a, b = torch.nn.functional.normalize(torch.randn(2, 10, 3 * 32 * 32).double(), dim=2) * 55
    points = slerp(a, b, torch.linspace(0, 1, 9))
    assert torch.allclose(points.norm(dim=2), torch.tensor(55.0).double(), rtol=1e-12)
    steps = points.diff(dim=1).norm(dim=2)
    assert torch.allclose(steps, steps[:, :1].expand_as(steps), rtol=1e-6)
    back = slerp(b, a, torch.linspace(0, 1, 9)).flip(1)
    assert torch.allclose(points, back, rtol=0, atol=1e-6)


def test_pairs_do_not_see_each_other() -> None:
    a, b = torch.randn(2, 4, 12)
    assert torch.equal(slerp(a, b, FRACTIONS)[2:3], slerp(a[2:3], b[2:3], FRACTIONS))


def test_parallel_vectors_go_over_into_a_line() -> None:
    a = torch.randn(3, 7).double()
    assert torch.allclose(slerp(a, 2 * a, [0.25]), 1.25 * a[:, None], rtol=1e-12)


def test_no_shortest_arc() -> None:
    a = torch.randn(3, 7)
    with pytest.raises(UserError, match="opposite"):
        slerp(a, -2 * a, [0.5])
    with pytest.raises(UserError, match="zeros"):
        slerp(a, torch.zeros_like(a), [0.5])
