"""What one searched setting may be: one of some choices, or a number of a range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mmd_ddm.experiment.setting import Scalar


class Suggester(Protocol):
    """The part of an Optuna trial that draws values."""

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """Draw one of the choices."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a number."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """Draw a whole number."""


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Scalar, ...]

    def suggest(self, name: str, trial: Suggester) -> Scalar:
        """Draw a value."""
        return trial.suggest_categorical(name, self.values)

    def __contains__(self, value: Scalar) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.values)


@dataclass(frozen=True)
class Range:
    """A number between two others."""

    low: float
    high: float
    logarithmic: bool = False
    whole: bool = False

    def suggest(self, name: str, trial: Suggester) -> Scalar:
        """Draw a value."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high))
        return trial.suggest_float(name, self.low, self.high, log=self.logarithmic)

    def __contains__(self, value: Scalar) -> bool:
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} .. {self.high:g}" + (", logarithmic" if self.logarithmic else "")


Dimension = Choice | Range
