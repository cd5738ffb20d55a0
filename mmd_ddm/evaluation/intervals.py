"""Scores over several seeds: intervals, and whether two settings can be told apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from mmd_ddm.errors import UserError

LEVEL = 0.05  # two-sided


class Interval(NamedTuple):
    """A mean of several seeds' scores with its confidence interval [low, high], and the deviation of a single score."""

    mean: float
    low: float
    high: float
    deviation: float
    seeds: int


class Difference(NamedTuple):
    """The first setting's mean score less the second's, with its interval, and how the question was answered."""

    difference: float
    low: float
    high: float
    p: float  # two-sided, of no difference
    tie: bool  # p is at least 5 %
    test: str


def seed_interval(scores: Sequence[float]) -> Interval:
    """Mean and Student-t 95 % interval of the scores of several seeds, of which at least 2.

    It holds for fresh seeds of what was varied and nothing else: over sampling seeds, for this model and these real
    images. Raises a UserError for fewer than 2 scores.
    """
    count = len(scores)
    if count < 2:
        raise UserError(f"an interval over seeds needs at least 2 scores; there is {count}")
    mean, deviation = statistics.fmean(scores), statistics.stdev(scores)
    half = float(stdtrit(count - 1, 1 - LEVEL / 2)) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, deviation, count)


def compare_settings(
    one: Sequence[float], other: Sequence[float], errors: tuple[Sequence[float], Sequence[float]] | None = None
) -> Difference:
    """Test whether two settings have the same mean score, two-sided at 5 %.

    With two or more seeds on both sides: Welch's t-test (1947), equal to scipy.stats.ttest_ind with unequal variances
    to rounding. With a single seed on a side: a normal test on the scores' own standard errors, each side's the root
    mean square over its seeds. They are not divided by the number of seeds, as the part from the real images
    is shared by all seeds, so that test says "tie" too often rather than too rarely.

    Each score is one seed's. Seeds need not be the same, and if they are the test is careful rather than sharp. No
    scores, or a single seed on a side without standard errors, raise a UserError.
    """
    if not one or not other:
        raise UserError("two settings can only be compared where each has a score")
    difference = statistics.fmean(one) - statistics.fmean(other)
    if min(len(one), len(other)) >= 2:
        parts = [statistics.variance(scores) / len(scores) for scores in (one, other)]
        variance, weights = sum(parts), zip(parts, (one, other), strict=True)
        freedom = variance**2 / sum(p**2 / (len(s) - 1) for p, s in weights) if variance > 0 else math.inf
        return _decide(difference, math.sqrt(variance), freedom, "Welch's t-test over seeds")
    if errors is None or not all(errors):
        raise UserError("a setting with a single seed can only be compared by its scores' standard errors; give them")
    squares = [statistics.fmean(error**2 for error in side) for side in errors]
    return _decide(difference, math.sqrt(sum(squares)), math.inf, "normal test on standard errors")


def _decide(difference: float, error: float, freedom: float, test: str) -> Difference:
    p = 2 * float(stdtr(freedom, -abs(difference) / error)) if error > 0 else float(difference == 0)
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    return Difference(difference, difference - half, difference + half, p, p >= LEVEL, test)
