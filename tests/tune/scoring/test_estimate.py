"""Ties, derived by hand from the tables of the t and the normal distribution."""

from __future__ import annotations

import math

import pytest

from tune.scoring.estimate import BEHIND, BEST, TIE, UNKNOWN, Estimate, tied, verdicts

T_4, T_2, Z = 2.776, 4.303, 1.960  # two-sided 5 %, printed tables


def around(mean, deviation=1.0):
    """Three seeds of a mean and a sample deviation."""
    return Estimate((mean - deviation, mean, mean + deviation))


def test_two_settings_of_three_seeds_differ_from_t_times_the_error_on():
    # variances are 1, so the difference's error is sqrt(2/3), and Welch's degrees of freedom are 4
    limit = T_4 * math.sqrt(2 / 3)
    assert tied(around(0), around(0.99 * limit))
    assert not tied(around(0), around(1.01 * limit))


def test_welch_does_not_pool_variances():
    # error sqrt((1 + 0.0001)/3); degrees of freedom 2 (1.0001)^2 / (1 + 1e-8) = 2.0004: the limit is that of 2
    limit = T_2 * math.sqrt(1.0001 / 3)
    assert tied(around(0), around(0.99 * limit, 0.01))
    assert not tied(around(0), around(1.01 * limit, 0.01))


def test_single_seeds_differ_from_two_standard_errors_on():
    one = Estimate((0.0,), (3.0,))  # with an error of 4 that of the difference is 5
    assert tied(one, Estimate((0.99 * Z * 5,), (4.0,)))
    assert not tied(one, Estimate((1.01 * Z * 5,), (4.0,)))
    assert tied(Estimate((1.0,)), Estimate((2.0,))) is None  # nothing is known of FID's error


def test_intervals_over_seeds():
    assert around(7).spread == pytest.approx(T_2 / math.sqrt(3), rel=1e-3)
    assert Estimate((7.0,), (0.5,)).spread == 0.5
    assert Estimate((7.0,)).spread is None


def test_a_column_has_one_best_and_those_that_tie_with_it():
    column = [around(10), around(0), None, around(1)]
    assert verdicts(column) == [BEHIND, BEST, UNKNOWN, TIE]
    assert verdicts([around(10), around(0), around(9.5)], largest=True) == [BEST, BEHIND, TIE]
    assert verdicts([None, None]) == [UNKNOWN, UNKNOWN]
    assert verdicts([Estimate((2.0,)), Estimate((1.0,))]) == [UNKNOWN, BEST]
