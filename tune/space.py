"""What a study searches: a few settings, each with its choices or its range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mmd_ddm.discrepancy.kernels import BANDWIDTH_KERNELS
from mmd_ddm.experiment.build import evaluation_spaces
from mmd_ddm.experiment.config import Config, Scalar


class Suggester(Protocol):
    """The part of an Optuna trial that draws values."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
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
        value: Scalar = trial.suggest_categorical(name, self.values)
        return value

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


@dataclass(frozen=True)
class Space:
    """The searched settings by name.

    Args:
        dimensions: What each may be. `bandwidth` is drawn only for a kernel that has one.
    """

    dimensions: Mapping[str, Dimension]

    def suggest(self, trial: Suggester, fixed: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
        """Draw a point.

        Args:
            trial: Draws the values, and remembers them.
            fixed: Values that are given already; one that lies outside of its dimension is not shown to `trial`.

        Returns:
            A value for each dimension.
        """
        point: dict[str, Scalar] = {}
        for name in self._order():
            dimension = self.dimensions[name]
            if name == "bandwidth" and not takes_bandwidth(point.get("kernel")):
                point[name] = None
            elif fixed is not None and name in fixed and fixed[name] not in dimension:
                point[name] = fixed[name]
            else:
                point[name] = dimension.suggest(name, trial)
        return point

    def _order(self) -> list[str]:
        return sorted(self.dimensions, key=lambda name: (name == "bandwidth", name))  # after the kernel

    def as_text(self) -> dict[str, str | list[Scalar]]:
        """The space as it could be written in a file."""
        return {name: _written(dimension) for name, dimension in self.dimensions.items()}


def takes_bandwidth(kernel: Scalar) -> bool:
    """Whether a kernel has a term whose bandwidth is open; an unnamed kernel may have one."""
    if kernel is None:
        return True
    return any(term in BANDWIDTH_KERNELS for term in str(kernel).split("+"))


def default_space(base: Config) -> Space:
    """Return the space that is searched unless users say otherwise.

    Args:
        base: The configuration around which it lies.
    """
    rate = base.optimization.learning_rate
    return Space(
        {
            "learning_rate": Range(rate / 10, min(rate * 10, 1), logarithmic=True),
            "kernel": Choice(("cubic", "linear", "rbf", "rational_quadratic")),
            "bandwidth": Choice(("median", "0.3*median", "dim")),
            "features": Choice(evaluation_spaces(base)),
            "schedule": Choice(("linear", "quadratic")),
        }
    )


def settle(config: Config, point: Mapping[str, Scalar]) -> Config:
    """Put a point of the space into a configuration; settings that the point makes meaningless are put aside.

    Args:
        config: The rest of the settings.
        point: Values of the searched settings.
    """
    values = dict(point)
    if "kernel" in values and "bandwidth" not in values and not takes_bandwidth(values["kernel"]):
        values["bandwidth"] = None
    if values.get("sampler") == "ddpm":
        values["eta"] = 0.0
    elif values.get("sampler") == "ddim":
        values["variance"] = "model"
    return config.replace(**values)


def _written(dimension: Dimension) -> str | list[Scalar]:
    return list(dimension.values) if isinstance(dimension, Choice) else f"{dimension.low!r}..{dimension.high!r}"
