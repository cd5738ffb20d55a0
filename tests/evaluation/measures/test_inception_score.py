"""The Inception Score against torch-fidelity and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.inception_score import inception_score


@pytest.mark.parametrize("count", [500, 503])
@pytest.mark.parametrize("splits", [10, 1])
def test_equals_torch_fidelity_in_the_order_given(count: int, splits: int) -> None:
    logits = 3 * torch.randn(count, 1008)
    theirs = isc_features_to_metric(logits, splits=splits, shuffle=False)
    assert inception_score(logits, splits) == pytest.approx(list(theirs.values()), rel=1e-12, abs=1e-12)


def test_equals_torch_fidelity_in_its_shuffled_order() -> None:
    logits = 3 * torch.randn(400, 50) + torch.eye(50)[torch.arange(400) * 50 // 400] * 8  # sorted by class
    shuffled = logits[torch.from_numpy(np.random.RandomState(2020).permutation(400))]
    theirs = isc_features_to_metric(logits)
    assert inception_score(shuffled) == pytest.approx(list(theirs.values()), rel=1e-12)
    assert inception_score(logits).mean < theirs["inception_score_mean"] / 1.5  # the order matters, as it says


def test_closed_forms() -> None:
    """Certain and evenly spread over C classes: C. One answer for all images: 1, however uncertain."""
    certain = torch.where(torch.eye(7).bool(), 0.0, -torch.inf).repeat(20, 1)
    assert inception_score(certain) == pytest.approx((7.0, 0.0))
    assert inception_score(torch.randn(1, 7).expand(40, 7)) == pytest.approx((1.0, 0.0))


def test_deviation_is_that_of_the_splits() -> None:
    """Two splits: one of two certain classes (2), one of a single class (1): mean 3/2, deviation 1/2."""
    classes = torch.tensor([0, 1, 0, 1, 2, 2, 2, 2])
    logits = torch.where(torch.nn.functional.one_hot(classes, 3).bool(), 0.0, -1000.0)
    assert inception_score(logits, splits=2) == pytest.approx((1.5, 0.5))


def test_two_by_two_by_hand() -> None:
    """p = (0.9, 0.1) and (0.5, 0.5): marginal (0.7, 0.3)."""
    p = torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64)
    divergence = 0.9 * math.log(0.9 / 0.7) + 0.1 * math.log(0.1 / 0.3) + 0.5 * math.log(0.5 / 0.7 * 0.5 / 0.3)
    assert inception_score(p.log() + 5, splits=1).mean == pytest.approx(math.exp(divergence / 2), rel=1e-12)


def test_fewer_images_than_splits() -> None:
    with pytest.raises(UserError, match="10 splits"):
        inception_score(torch.zeros(9, 4))
