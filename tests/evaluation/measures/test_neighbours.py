"""Nearest real images and the number for overfitting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors

import mmd_ddm.evaluation.measures.neighbours as neighbours_module
from mmd_ddm.discrepancy.vectors import Stacked
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.neighbours import nearest, neighbour_auc


@pytest.mark.parametrize("rows", [2048, 13])
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_equals_scikit_learn(rows: int, leave_one_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "ROWS", rows)
    real = torch.randn(70, 12) + 5
    queries = real if leave_one_out else torch.randn(50, 12) + 5
    search = NearestNeighbors(n_neighbors=4).fit(real.double().numpy())
    distances, indices = search.kneighbors(None if leave_one_out else queries.double().numpy())
    found = nearest(queries, Stacked([real[:30], real[30:]]), 4, leave_one_out)
    assert np.array_equal(found.indices.numpy(), indices)
    assert found.distances.numpy() == pytest.approx(distances, rel=1e-12)


def test_copies_have_distance_zero_far_from_the_origin() -> None:
    real = torch.randn(100, 300) + 1000
    found = nearest(real[[7, 3]], real)
    assert found.indices.tolist() == [[7], [3]]
    assert found.distances.tolist() == [[0.0], [0.0]]
    assert float(nearest(real, real, leave_one_out=True).distances.min()) > 10


def test_more_neighbours_than_a_block_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "ROWS", 2)
    real = torch.tensor([[0.0], [10], [1], [5], [2]])
    found = nearest(torch.tensor([[1.4]]), real, k=4)
    assert found.indices.tolist() == [[2, 4, 0, 3]]
    assert found.distances.tolist()[0] == pytest.approx([0.4, 0.6, 1.4, 3.6], rel=1e-6)
    with pytest.raises(UserError, match="only 4"):
        nearest(real, real, k=5, leave_one_out=True)


def test_probability_is_mann_whitneys_with_ties() -> None:
    one, other = torch.randint(0, 12, (60,)).double(), torch.randint(2, 15, (45,)).double()
    found = neighbour_auc(one, other)
    statistic = mannwhitneyu(other.numpy(), one.numpy()).statistic  # pairs in which the other is larger
    assert found.auc == pytest.approx(statistic / (60 * 45), rel=1e-12)
    assert found.median_ratio == pytest.approx(float(np.median(one) / np.median(other)), rel=1e-12)


def test_probability_by_hand() -> None:
    """Of the pairs (1, 2), (1, 5), (3, 2), (3, 5), (5, 2), (5, 5): 3 nearer and one tie of 6."""
    assert neighbour_auc(torch.tensor([1.0, 3, 5]), torch.tensor([2.0, 5])).auc == pytest.approx(3.5 / 6)


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_standard_error_is_the_spread(scale: float) -> None:
    """Exponential distances of means `scale` and 1: P(one < other) = 1 / (1 + scale)."""
    found = [neighbour_auc(scale * torch.rand(80).log().neg(), torch.rand(50).log().neg()) for _ in range(600)]
    values = torch.tensor([each.auc for each in found])
    errors = torch.tensor([each.standard_error for each in found])
    # both are known to 3 %
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.12)
    assert float(values.mean()) == pytest.approx(1 / (1 + scale), abs=4 * float(values.std()) / math.sqrt(600))


def test_fresh_images_are_not_memorised_and_copies_are() -> None:
    real, fresh, held_out = torch.randn(3, 800, 5).unbind()
    reference = nearest(held_out, real).distances[:, 0]
    left_out = nearest(real, real, leave_one_out=True).distances[:, 0]
    for distances in (reference, left_out):
        unrelated = neighbour_auc(nearest(fresh, real).distances[:, 0], distances)
        assert abs(unrelated.auc - 0.5) < 4 * unrelated.standard_error
        assert abs(unrelated.median_ratio - 1) < 0.1
        copied = neighbour_auc(nearest(real + 0.01 * fresh, real).distances[:, 0], distances)
        assert copied.auc > 0.99
        assert copied.median_ratio < 0.1
    half = torch.cat([real[:400], fresh[:400]])
    assert neighbour_auc(nearest(half, real).distances[:, 0], reference).auc == pytest.approx(0.75, abs=0.04)
