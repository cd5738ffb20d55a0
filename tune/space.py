"""What a study searches: a few settings, each with its choices or its range.

Written by users as `key=a,b,c` (choices) or `key=low..high` (a range, logarithmic for rates and lengths), or as a YAML
or JSON file of the same: `learning_rate: 1e-6..1e-3`, `kernel: [cubic, rbf]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmd_ddm.data.catalogue import entry
from mmd_ddm.discrepancy.kernels import BANDWIDTH_KERNELS, parse_kernel
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config, Scalar, leaves

LOGARITHMIC = ("learning_rate", "bandwidth", "clip")
FIXED = ("dataset", "base_model", "seed", "updates", "evaluation_features", "evaluation_images", "evaluations")


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
            "bandwidth": Choice(("dim", "median")),
            "features": Choice(entry(base.dataset).feature_spaces),
            "schedule": Choice(("linear", "quadratic")),
        }
    )


def parse_space(written: Mapping[str, Any], base: Config) -> Space:
    """Read a space back from `Space.as_text()`."""
    return Space({key: _dimension(key, value, base) for key, value in written.items()})


def read_space(default: Space, texts: Iterable[str], base: Config) -> Space:
    """Change a space by what users wrote; a setting given a single value is no longer searched over.

    Args:
        default: The space to change.
        texts: Each `key=a,b,c`, `key=low..high` or the name of a YAML or JSON file.
        base: The configuration whose settings are searched.

    Raises:
        UserError: An unknown setting, an empty or reversed range, or a value that is not allowed.
    """
    dimensions = dict(default.dimensions)
    for text in texts:
        name, equals, value = text.partition("=")
        given = {name.strip().replace("-", "_"): value} if equals else _read_file(Path(text))
        for key, written in given.items():
            dimensions[key] = _dimension(key, written, base)
    space = Space(dimensions)
    _check_bandwidth(space, base)
    return space


def _check_bandwidth(space: Space, base: Config) -> None:
    kernel = space.dimensions.get("kernel", Choice((base.objective.kernel,)))
    if "bandwidth" in space.dimensions and isinstance(kernel, Choice):
        for each in kernel.values:
            if takes_bandwidth(each):
                parse_kernel(str(each), "median")


def _read_file(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise UserError(f"--space {str(file)!r} is neither key=values nor a file; write for example kernel=cubic,rbf")
    import yaml

    try:
        text = file.read_text()
        read = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, OSError) as error:
        raise UserError(f"the space file {file} can't be read: {str(error).splitlines()[0]}") from None
    if not isinstance(read, dict) or not read:
        raise UserError(f"the space file {file} must hold settings, as in `kernel: [cubic, rbf]`")
    return {str(key): value for key, value in read.items()}


def _dimension(key: str, written: Any, base: Config) -> Dimension:
    known = [leaf.name for leaf in leaves() if leaf.name not in FIXED]
    if key not in known:
        raise UserError(f"--space: {key!r} can't be searched; choose from {', '.join(known)}")
    if isinstance(written, str) and ".." in written:
        return _range(key, written, base)
    values = written.split(",") if isinstance(written, str) else written if isinstance(written, list) else [written]
    values = [value.strip() if isinstance(value, str) else value for value in values]
    if not values or "" in values:
        raise UserError(f"--space: {key} has an empty choice; write {key}=a,b,c")
    read = tuple(_value(key, value, base) for value in values)
    return Choice(tuple(dict.fromkeys(read)))


def _range(key: str, written: str, base: Config) -> Range:
    try:
        low, high = (float(part) for part in written.split(".."))
    except ValueError:
        raise UserError(f"--space: {key}={written} is not a range; write {key}=low..high with two numbers") from None
    if not low < high:
        raise UserError(f"--space: {key}={written} is empty; the first number must be smaller than the second")
    ends = [_value(key, end, base) for end in (low, high)]
    if not all(isinstance(end, (int, float)) for end in ends):
        raise UserError(f"--space: {key} is not a number; write its choices as {key}=a,b,c")
    return Range(low, high, logarithmic=key in LOGARITHMIC, whole=all(isinstance(end, int) for end in ends))


def _value(key: str, value: Any, base: Config) -> Scalar:
    if key == "features" and value not in entry(base.dataset).feature_spaces:
        fitting = ", ".join(entry(base.dataset).feature_spaces)
        raise UserError(f"--space: features {value!r} does not fit data set {base.dataset}; choose from {fitting}")
    changes = {key: value}
    if key == "bandwidth":
        changes["kernel"] = "rbf"
    elif key == "kernel":
        changes["bandwidth"] = None
    elif key in ("eta", "variance", "sampler"):  # each belongs to one sampler
        defaults = {"eta": 0.0, "variance": "fixed_small"}
        changes = {**defaults, "sampler": "ddpm" if key == "variance" else "ddim", **changes}
    return base.replace(**changes).flat()[key]


def _written(dimension: Dimension) -> str | list[Scalar]:
    return list(dimension.values) if isinstance(dimension, Choice) else f"{dimension.low!r}..{dimension.high!r}"


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
        values["variance"] = "fixed_small"
    return config.replace(**values)
