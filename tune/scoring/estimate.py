"""Which of several settings is best, and which can't be told apart from it: a column of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from mmd_ddm.evaluation.intervals import compare_settings, seed_interval

BEST, TIE, BEHIND, UNKNOWN = "best", "tie", "behind", ""


@dataclass(frozen=True)
class Estimate:
    """A score of one setting."""

    values: tuple[float, ...]  # one for each seed
    errors: tuple[float, ...] = ()  # the standard error of each from its images; empty where there is none, as for FID

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Half of the 95 % interval of the mean over seeds; of a single seed its standard error, or None."""
        if len(self.values) == 1:
            return self.errors[0] if self.errors else None
        interval = seed_interval(self.values)
        return interval.high - interval.mean


def tied(one: Estimate, other: Estimate) -> bool | None:
    """Say whether two settings can't be told apart at two-sided 5 %; None where nothing tells.

    With two or more seeds of both by Welch's t-test; with a single seed by the scores' own standard errors, which know
    how far the generated images could have been others, but not how far another training could have been.
    """
    if min(len(one.values), len(other.values)) >= 2:
        return compare_settings(one.values, other.values).tie
    if not (one.errors and other.errors):
        return None
    return compare_settings(one.values, other.values, (one.errors, other.errors)).tie


def verdicts(column: Sequence[Estimate | None], largest: bool = False) -> list[str]:
    """Say of each setting in a column whether it is the best (smallest or largest), tied with it or behind."""
    there = [each for each in column if each is not None]
    if not there:
        return [UNKNOWN] * len(column)
    best = max(there, key=lambda each: each.mean if largest else -each.mean)
    return [BEST if each is best else _against(best, each) for each in column]


def _against(best: Estimate, other: Estimate | None) -> str:
    same = None if other is None else tied(best, other)
    return UNKNOWN if same is None else TIE if same else BEHIND
