"""Precision and recall against torch-fidelity, their definition, and cases known by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_prc import prc_features_to_metric

import mmd_ddm.evaluation.measures.neighbours as neighbours_module
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.precision_recall import precision_recall


def by_definition(queries: Tensor, others: Tensor, k: int) -> float:
    """The share of queries q for which some y has |q - y| <= the distance from y to its k-th other."""
    inside = 0
    for q in queries:
        for i, y in enumerate(others):
            reach = sorted(float((y - z).norm()) for j, z in enumerate(others) if j != i)[k - 1]
            if float((q - y).norm()) <= reach:
                inside += 1
                break
    return inside / len(queries)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("rows", [2048, 7])
def test_definition_in_any_blocks(k: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "ROWS", rows)
    x, y = torch.randn(30, 3).double() * 0.6, torch.randn(40, 3).double()
    found = precision_recall(x, y, k)
    assert found == (by_definition(x, y, k), by_definition(y, x, k))
    assert found.recall < found.precision  # a narrower set: were the sides confused, this would turn round


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("part", [True, False])
def test_equals_torch_fidelity(dtype: torch.dtype, part: bool) -> None:
    x, y = torch.randn(900, 40).to(dtype) * 0.9 + 3.1, torch.randn(1100, 40).to(dtype) + 3
    theirs = prc_features_to_metric(x, y, save_cpu_ram=part, prc_batch_size=300, verbose=False)
    found = precision_recall(x, y)
    assert 0.2 < found.recall < found.precision < 0.99
    # in float32 their distances are of features far from zero: an image or two may change sides
    images = 0 if dtype == torch.float64 else 2
    assert found.precision == pytest.approx(theirs["precision"], abs=images / 900 + 1e-7)
    assert found.recall == pytest.approx(theirs["recall"], abs=images / 1100 + 1e-7)


def test_by_hand_boundary_included() -> None:
    """Reals 0, 1, 5 and k = 1: balls [-1, 1], [0, 2], [1, 9]. Generated 2 and 20: balls [-16, 20] and [2, 38]."""
    real, generated = (torch.tensor(values).double()[:, None] for values in ([0.0, 1, 5], [2.0, 20]))
    assert precision_recall(generated, real, k=1) == (1 / 2, 1.0)
    assert precision_recall(torch.tensor([[9.0], [9.1]]).double(), real, k=1).precision == 1 / 2


def test_equal_sets_and_far_ones() -> None:
    x = torch.randn(50, 4)
    assert precision_recall(x, x.clone()) == (1, 1)
    assert precision_recall(x + 100, x) == (0, 0)


def test_too_few_images() -> None:
    with pytest.raises(UserError, match="3 nearest neighbours"):
        precision_recall(torch.randn(9, 2), torch.randn(3, 2))
