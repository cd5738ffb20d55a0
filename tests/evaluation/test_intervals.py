"""Intervals over seeds and the test for ties, against scipy and tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.intervals import compare_settings, seed_interval

ONE, OTHER = [5.48, 5.61, 5.39, 5.55, 5.42], [5.9, 5.2, 6.3]


@pytest.mark.parametrize("scores", [ONE, OTHER, [1.0, 2.0]])
def test_interval_equals_scipy(scores: list[float]) -> None:
    found = seed_interval(scores)
    theirs = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=1e-10)
    assert (found.mean, found.deviation, found.seeds) == pytest.approx(
        (np.mean(scores), np.std(scores, ddof=1), len(scores))
    )


def test_interval_of_two_by_the_table() -> None:
    """t(0.975, 1) = 12.706."""
    assert seed_interval([1.0, 2.0]).high == pytest.approx(1.5 + 12.7062 * 0.5, abs=1e-3)
    with pytest.raises(UserError, match="at least 2"):
        seed_interval([1.0])


@pytest.mark.parametrize(
    ("one", "other"), [(ONE, OTHER), (OTHER, ONE), (ONE, [x + 0.3 for x in ONE]), (ONE, [1.0, 1.1])]
)
def test_welch_equals_scipy(one: list[float], other: list[float]) -> None:
    theirs = stats.ttest_ind(one, other, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    found = compare_settings(one, other)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.tie == (theirs.pvalue >= 0.05) == (found.low <= 0 <= found.high)
    assert "Welch" in found.test


def test_level_is_kept() -> None:
    """Of settings that are equal but of unequal spread, 5 % are told apart."""
    random = np.random.default_rng(0)
    told = [
        not compare_settings(random.normal(0, 1, 4).tolist(), random.normal(0, 3, 9).tolist()).tie for _ in range(2000)
    ]
    assert np.mean(told) == pytest.approx(0.05, abs=0.02)  # 4 deviations of a share of 2000


@pytest.mark.parametrize(("gap", "tie"), [(0.0097, True), (0.0099, False)])  # 1.96 * hypot(0.003, 0.004) = 0.0098
def test_single_seeds_use_standard_errors(gap: float, tie: bool) -> None:
    found = compare_settings([0.02 + gap], [0.02], ([0.003], [0.004]))
    assert found.tie is tie
    assert found.p == pytest.approx(math.erfc(gap / 0.005 / math.sqrt(2)), rel=1e-12)
    assert found.high - found.difference == pytest.approx(1.959964 * 0.005, rel=1e-6)
    assert "standard errors" in found.test


def test_one_seed_against_several_pools_errors_but_does_not_divide_them() -> None:
    found = compare_settings([0.02], [0.01, 0.03], ([0.003], [0.002, math.sqrt(28e-6)]))
    assert found.high - found.difference == pytest.approx(1.959964 * 0.005, rel=1e-6)  # 9e-6 + (4e-6 + 28e-6) / 2


def test_scores_without_any_spread() -> None:
    assert compare_settings([1.0, 1.0], [1.0, 1.0]).tie
    assert compare_settings([1.0, 1.0], [2.0, 2.0]).p == 0
    for one, errors in (([1.0], None), ([1.0], ([], [])), ([], None)):
        with pytest.raises(UserError):
            compare_settings(one, [1.0], errors)
