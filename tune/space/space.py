"""What a study searches: a few settings, each with its choices or its range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mmd_ddm.diffusion.timesteps import FROM_ZERO, default_schedule
from mmd_ddm.discrepancy.specification import leaves_bandwidth_open
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inputs import scored_spaces
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.features.specification import parse_features
from mmd_ddm.finetuning.names import MMD, SAMPLER, WEIGHTS
from tune.space.dimension import Choice, Dimension, Range, Suggester


@dataclass(frozen=True)
class Condition:
    """When a setting means anything."""

    on: str  # another setting, which decides it
    holds: Callable[[Scalar], bool]  # whether a value of that one gives this one a meaning; an unknown one, None, may
    neutral: Scalar  # what this one is set to where it has none
    words: str  # what it belongs to


@dataclass(frozen=True)
class Space:
    """The searched settings by name.

    Args:
        dimensions: What each may be; one with a condition (see `CONDITIONS`) is drawn only where that holds.
        given: The values of settings that are not searched and that others depend on.
    """

    dimensions: Mapping[str, Dimension]
    given: Mapping[str, Scalar] = field(default_factory=dict)

    def suggest(self, trial: Suggester, fixed: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
        """Draw a value for each dimension; None for one that means nothing beside the others.

        A fixed value that lies outside of its dimension is taken as it is, and not shown to `trial`.
        """
        point: dict[str, Scalar] = {}
        for name in sorted(self.dimensions, key=lambda name: (self._depth(name), name)):  # after what they depend on
            dimension = self.dimensions[name]
            if not means_something(name, {**self.given, **point}):
                point[name] = None
            elif fixed is not None and name in fixed and fixed[name] not in dimension:
                point[name] = fixed[name]
            else:
                point[name] = dimension.suggest(name, trial)
        return point

    def _depth(self, name: str) -> int:
        """On how many others, one after the other, a searched setting depends."""
        condition = CONDITIONS.get(name)
        return 0 if condition is None else self._depth(condition.on) + (condition.on in self.dimensions)

    def reachable(self, name: str) -> bool:
        """Whether a setting means anything in some point of the space."""
        condition = CONDITIONS.get(name)
        if condition is None:
            return True
        dimension = self.dimensions.get(condition.on)
        values = dimension.values if isinstance(dimension, Choice) else (self.given.get(condition.on),)
        return any(condition.holds(value) for value in values) and self.reachable(condition.on)

    @property
    def searches_budgets(self) -> bool:
        """Whether several numbers of network evaluations are searched: then there are two objectives."""
        dimension = self.dimensions.get("steps")
        return isinstance(dimension, Range) or (isinstance(dimension, Choice) and len(dimension.values) > 1)

    def as_text(self) -> dict[str, str | list[Scalar]]:
        """The space as it could be written in a file."""
        return {
            name: list(each.values) if isinstance(each, Choice) else f"{each.low!r}..{each.high!r}"
            for name, each in self.dimensions.items()
        }


def takes_bandwidth(kernel: Scalar) -> bool:
    """Whether a kernel has a term whose bandwidth is open; an unnamed kernel may have one."""
    return kernel is None or leaves_bandwidth_open(str(kernel))


def takes_preprocessing(features: Scalar) -> bool:
    """Whether the published code prepares images in a way of its own for each of some feature spaces."""
    names = ["inception"] if features is None else [name for _, name in parse_features(str(features))]
    return all(name == "clip" or name.split("_")[0] == "inception" for name in names)


CONDITIONS: Mapping[str, Condition] = {  # each after what it depends on
    "kernel": Condition("loss", lambda loss: loss in (None, MMD), "cubic", "loss mmd"),
    "reference": Condition("loss", lambda loss: loss in (None, MMD), "bank", "loss mmd"),
    "matching": Condition("loss", lambda loss: loss in (None, MMD), None, "loss mmd"),
    "bandwidth": Condition("kernel", takes_bandwidth, None, "kernels with an open bandwidth, such as rbf"),
    "eta": Condition("sampler", lambda sampler: sampler in (None, "ddim"), 0.0, "sampler ddim"),
    "variance": Condition("sampler", lambda sampler: sampler in (None, "ddpm"), "model", "sampler ddpm"),
    "sampler_learning_rate": Condition("learn", lambda learn: learn != WEIGHTS, 0.01, "learn sampler and both"),
    "learning_rate": Condition("learn", lambda learn: learn != SAMPLER, 5e-6, "learn weights and both"),
    "schedule": Condition("steps", lambda steps: steps != 1, default_schedule(1), "budgets of 2 and more"),
    "preprocessing": Condition("features", takes_preprocessing, "evaluation", "features inception and clip"),
}


def means_something(name: str, values: Mapping[str, Scalar]) -> bool:
    """Whether a setting means anything beside the values of others, as far as they are known."""
    condition = CONDITIONS.get(name)
    if condition is None:
        return True
    return means_something(condition.on, values) and condition.holds(values.get(condition.on))


def conditioning(config: Config) -> dict[str, Scalar]:
    """Return a configuration's values of the settings that others depend on."""
    values = config.flat()
    return {condition.on: values[condition.on] for condition in CONDITIONS.values()}


FEW = 3  # network evaluations
_KERNELS = ("cubic", "linear", "rbf", "rational_quadratic")


def default_space(base: Config) -> Space:
    """Return the space around a configuration that is searched unless users say otherwise."""
    c, rates = base.optimization, dict[str, float]()
    if c.learn != SAMPLER:
        rates["learning_rate"] = c.learning_rate
    if c.learn != WEIGHTS:
        rates["sampler_learning_rate"] = c.sampler_learning_rate
    dimensions: dict[str, Dimension] = {
        **{name: Range(rate / 10, min(rate * 10, 1), logarithmic=True) for name, rate in rates.items()},
        "kernel": Choice(tuple(dict.fromkeys((*_KERNELS, base.objective.kernel)))),
        "bandwidth": Choice(("median", "0.3*median", "dim")),
        "features": Choice(_losses(base)),
    }
    if (steps := base.sampler.steps) > 1:  # a single evaluation is best at the last timestep, whatever the schedule
        # of few the noisiest matters, where linear and quadratic never begin
        schedules = ("linear", "trailing", "logsnr") if steps <= FEW else ("linear", "quadratic")
        is_from_end = base.sampler.schedule not in FROM_ZERO  # as the base model needs
        dimensions["schedule"] = Choice(("trailing", "logsnr") if is_from_end else schedules)
    return Space(dimensions, conditioning(base))


def _losses(base: Config) -> tuple[str, ...]:
    """Return the feature spaces to train in: single ones, or a mixture and what is left of it without each part.

    Where the loss is a mixture no single space is trusted, and those outside of it stay outside of every trial's.
    """
    features = base.objective.features
    if len(parts := features.split("+")) == 1:
        return tuple(dict.fromkeys((features, *scored_spaces(base))))
    return features, *("+".join(parts[:i] + parts[i + 1 :]) for i in range(len(parts)))


def settle(config: Config, point: Mapping[str, Scalar]) -> Config:
    """Put a point of the space into a configuration; settings that the point makes meaningless become neutral."""
    values, known = dict(point), config.flat()
    for name, condition in CONDITIONS.items():
        told = name in values or condition.on in values
        if told and not means_something(name, {**known, **values}):
            values[name] = condition.neutral
    return config.replace(**values)


def outside(space: Space, config: Config) -> dict[str, Scalar]:
    """Return a configuration's values that a space has no place for, as far as they mean something."""
    values = config.flat()
    return {
        name: values[name]
        for name, dimension in space.dimensions.items()
        if values[name] not in dimension and means_something(name, values)
    }


def meaningful(config: Config) -> dict[str, Scalar]:
    """Return the settings as they are recorded: None for one that means nothing beside the others."""
    values = config.flat()
    return {name: value if means_something(name, values) else None for name, value in values.items()}
