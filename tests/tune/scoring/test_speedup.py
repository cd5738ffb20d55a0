import math

import pytest

from tune.scoring.estimate import Estimate
from tune.scoring.speedup import equivalent_budget, faster


def points(**scores):
    return [(int(steps[1:]), Estimate((score,), (0.0,))) for steps, score in scores.items()]


def exact(score):
    return Estimate((score,), (0.0,))


@pytest.mark.parametrize("steps", [5.0, 7.3, 20.0, 33.0, 50.0])
def test_a_score_linear_in_the_logarithm_is_matched_exactly(steps):
    line = [(s, exact(3 - 0.5 * math.log(s))) for s in (50, 5, 20)]
    assert equivalent_budget(exact(3 - 0.5 * math.log(steps)), line).steps == pytest.approx(steps)


@pytest.mark.parametrize(("score", "expected"), [(0.05, math.inf), (1.2, 0)])
def test_scores_outside_of_what_was_measured(score, expected):
    assert equivalent_budget(exact(score), points(s5=1.0, s20=0.3, s50=0.1)).steps == expected


def test_the_first_crossing_counts():
    assert 5 < equivalent_budget(exact(0.5), points(s5=1.0, s20=0.3, s50=0.9)).steps < 20


def test_the_ends_are_two_errors_of_the_difference_away():
    line = [(s, Estimate((3 - 0.5 * math.log(s),), (0.03,))) for s in (5, 20, 50)]
    found = equivalent_budget(Estimate((3 - 0.5 * math.log(20),), (0.04,)), line)
    shift = 2 * 0.05 / 0.5  # 2 sqrt(0.03^2 + 0.04^2) in score, in the logarithm of the budget
    assert found.low == pytest.approx(20 * math.exp(-shift))
    assert found.high == pytest.approx(20 * math.exp(shift))


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.3, "with about 20 (interpolated; 20 to 20 by the errors): 4 times fewer"),
        (0.05, "better than the base model with 50, the largest budget that was measured: at least 10 times fewer"),
        (1.2, "no faster"),
    ],
)
def test_it_is_said_in_words(score, words):
    assert words in faster(equivalent_budget(exact(score), points(s5=1.0, s20=0.3, s50=0.1)), 5, 50)


def test_without_a_larger_budget_nothing_is_claimed():
    assert "No larger budget" in faster(equivalent_budget(exact(0.5), points(s50=1.0)), 50, 50)
