"""The configuration of a run: one typed, frozen tree.

The names of its leaves are unique, and they are the only names: `--learning-rate` on the command line, `learning_rate`
in the search space, in MLflow and in the files of a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmd_ddm.data.catalogue import OWN, dataset_names
from mmd_ddm.diffusion.samplers import SAMPLERS, VARIANCES
from mmd_ddm.diffusion.timesteps import SCHEDULES
from mmd_ddm.discrepancy.bank_files import DTYPES
from mmd_ddm.discrepancy.kernels import Bandwidth, parse_bandwidth, parse_kernel
from mmd_ddm.errors import UserError
from mmd_ddm.features.mixture import parse_features
from mmd_ddm.features.published.preprocessing import PREPROCESSINGS
from mmd_ddm.finetuning.gradient import GRADIENTS
from mmd_ddm.finetuning.image_range import IMAGE_RANGES

Scalar = str | int | float | None


@dataclass(frozen=True)
class Rule:
    """What a setting may be: how it is read from text, whether it is allowed, and that in words."""

    read: Callable[[Any], Scalar]
    allowed: Callable[[Any], bool]
    words: str


def setting(default: Scalar, rule: Rule, help_text: str) -> Any:
    """A leaf of the tree: a dataclass field that knows its rule and its help text."""
    return field(default=default, metadata={"rule": rule, "help": help_text})


def _one_of(*names: str) -> Rule:
    return Rule(str, lambda value: value in names, f"one of {', '.join(names)}")


def _whole(low: int, high: float = float("inf")) -> Rule:
    words = f"a whole number of at least {low}" if high == float("inf") else f"a whole number from {low} to {high:.0f}"
    return Rule(_read_whole, lambda value: low <= value <= high, words)


def _read_whole(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(float(value)):
        raise ValueError
    return int(float(value))


def _number(low: float, high: float, words: str, low_included: bool = True) -> Rule:
    return Rule(float, lambda value: (low <= value if low_included else low < value) and value <= high, words)


def _or_none(rule: Rule) -> Rule:
    def read(value: Any) -> Scalar:
        return None if value is None or value == "none" else rule.read(value)

    return Rule(read, lambda value: value is None or rule.allowed(value), f"{rule.words}, or none")


def _checked(check: Callable[[str], object], words: str, read: Callable[[Any], Scalar] = str) -> Rule:
    def allowed(value: Any) -> bool:
        check(value)
        return True

    return Rule(read, allowed, words)


def _read_place(value: Any) -> str:
    """A path that is there, absolute, since workers have another working directory; any other name as it is."""
    path = Path(str(value)).expanduser()
    return str(path.absolute()) if path.exists() else str(value)


def _read_bandwidth(value: Any) -> Bandwidth:
    return parse_bandwidth(value)


@dataclass(frozen=True)
class SamplerConfig:
    """How images are generated, while finetuning and afterwards."""

    sampler: str = setting("ddim", _one_of(*SAMPLERS), "update rule of the chain")
    steps: int = setting(5, _whole(1), "budget S: network evaluations per image (1 to T)")
    schedule: str = setting(
        "linear", _one_of(*SCHEDULES), "timesteps of the budget; stride is the published code's (16 for 15)"
    )
    eta: float = setting(0.0, _number(0, 1, "a number from 0 to 1"), "noise of DDIM: 0 deterministic, 1 as DDPM")
    variance: str = setting(
        "model", _one_of(*VARIANCES), "variance of DDPM; model: as the base model's own sampler has it"
    )


@dataclass(frozen=True)
class ObjectiveConfig:
    """The MMD that is minimised."""

    features: str = setting(
        "classifier",
        _checked(parse_features, "a feature space or a mixture of them"),
        "feature space of the loss, or several with weights, such as inception+0.5*clip",
    )
    preprocessing: str = setting(
        "evaluation",
        _one_of(*PREPROCESSINGS),
        "how the loss prepares images for inception and clip: as evaluation tools do, or as the published code did",
    )
    kernel: str = setting(
        "cubic",
        _checked(lambda text: parse_kernel(text), "a sum of kernel terms"),
        "linear, cubic, rbf, rational_quadratic, or a sum such as cubic+rbf:0.5+rbf:median",
    )
    bandwidth: Bandwidth | None = setting(
        None,
        _or_none(Rule(_read_bandwidth, lambda value: True, "dim, median, 0.5*median or so, or a positive number")),
        "sigma of the kernel terms that name none: a number, dim (sigma^2 = d/2), median (distance of real features), "
        "or a multiple such as 0.5*median",
    )
    reference: str = setting(
        "bank",
        _one_of("bank", "batch"),
        "real side of the loss: all real features, or a fresh batch per update",
    )
    bank_dtype: str = setting(
        "float32", _one_of(*DTYPES), "precision in which the loss keeps the real features; float16 takes half"
    )
    image_range: str = setting(
        "clamp",
        _one_of(*IMAGE_RANGES),
        "what the loss sees of pixels outside [-1, 1]: as they are, clamped, or clamped with the gradient let through",
    )


@dataclass(frozen=True)
class OptimizationConfig:
    """How the weights are updated."""

    learning_rate: float = setting(
        5e-6, _number(0, 1, "a positive number of at most 1", low_included=False), "Adam's learning rate"
    )
    updates: int = setting(500, _whole(1), "number of optimizer updates")
    batch: int = setting(128, _whole(2), "N: generated images per update, over all workers")
    micro_batch: int | None = setting(
        None, _or_none(_whole(1)), "images that pass the network together; none: as many as fit in memory"
    )
    clip: float | None = setting(
        None,
        _or_none(_number(0, float("inf"), "a positive number", low_included=False)),
        "largest norm of an update's gradient, applied once",
    )
    ema: float = setting(
        0.0,
        _number(0, 0.99999, "a number from 0 to below 1"),
        "decay of the moving average of the weights; 0: none",
    )
    gradient: str = setting(
        "auto",
        _one_of("auto", *GRADIENTS),
        "stored graph, replayed chain (constant memory), or what fits",
    )
    dropout: str = setting("eval", _one_of("eval", "train"), "the network's dropout while finetuning: off or on")


@dataclass(frozen=True)
class EvaluationConfig:
    """How often and on what the model is scored."""

    evaluation_features: str | None = setting(
        None,
        _or_none(Rule(str, bool, "names joined by +")),
        "feature spaces of KID and FID, joined by +; none: the data set's own and those of the loss",
    )
    evaluation_images: int = setting(2000, _whole(4), "generated images per evaluation")
    evaluations: int = setting(4, _whole(1), "how many times a run is scored, evenly spread, the last at its end")


@dataclass(frozen=True)
class Config:
    """A run, complete.

    Raises:
        UserError: a value is out of range or contradicts another; names the key, the value and what is allowed.
    """

    dataset: str = setting("digits", _one_of(*dataset_names()), "data set; own: the images that `data` names")
    data: str | None = setting(
        None,
        _or_none(Rule(_read_place, bool, "a path or hub:owner/name@revision:files")),
        "images in place of the data set's source: folder, Parquet, LMDB, CIFAR-10 archive, prepared store, hub",
    )
    resolution: int | None = setting(
        None, _or_none(_whole(4)), "height and width in pixels; none: the data set's; own data need it"
    )
    base_model: str | None = setting(
        None,
        _or_none(Rule(_read_place, bool, "a folder, hub id or checkpoint file")),
        "diffusers folder, hub id, or checkpoint file; none: the data set's own",
    )
    seed: int = setting(0, _whole(0, 2**32 - 1), "seed of all random numbers")
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for leaf, value in zip(leaves(), self.flat().values(), strict=True):
            _check(leaf, value)
        parse_kernel(self.objective.kernel, self.objective.bandwidth)
        if self.dataset == OWN and (self.data is None or self.resolution is None):
            raise UserError(f"dataset is {OWN}, which needs data (where the images are) and resolution (in pixels)")
        if self.sampler.sampler == "ddpm" and self.sampler.eta != 0:
            raise UserError(f"eta is {self.sampler.eta}, but it belongs to sampler ddim; ddpm has variance instead")
        if self.sampler.sampler == "ddim" and self.sampler.variance != "model":
            raise UserError(f"variance is {self.sampler.variance!r}, but it belongs to sampler ddpm; ddim has eta")

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Config:
        """Build from `flat()`'s form; missing leaves keep their defaults."""
        return cls().replace(**values)

    def flat(self) -> dict[str, Scalar]:
        """All leaves by name, in the order of the tree."""
        return {leaf.name: getattr(owner, leaf.name) for owner, leaf in self._owned_leaves()}

    def trajectory(self) -> dict[str, Scalar]:
        """The leaves that decide the weights after each update; others only say how long to go on and what to measure.

        A run may be continued with other values of the rest: more updates, say.
        """
        aside = {"updates", *(leaf.name for leaf in leaf_groups()["evaluation"])}
        return {name: value for name, value in self.flat().items() if name not in aside}

    def replace(self, **values: Any) -> Config:
        """A copy with other leaves; text is read as the leaf's type.

        Raises:
            UserError: an unknown name, or a value that the leaf does not allow.
        """
        known = {leaf.name: leaf for leaf in leaves()}
        for name in values:
            if name not in known:
                raise UserError(f"{name!r} is not a setting; the settings are {', '.join(known)}")
        read = {name: _read(known[name], value) for name, value in values.items()}
        groups: dict[str, Any] = {
            group.name: dataclasses.replace(getattr(self, group.name), **_part(getattr(self, group.name), read))
            for group in dataclasses.fields(self)
            if "rule" not in group.metadata
        }
        return dataclasses.replace(self, **_part(self, read), **groups)

    def _owned_leaves(self) -> Iterator[tuple[Any, dataclasses.Field[Any]]]:
        for item in dataclasses.fields(self):
            if "rule" in item.metadata:
                yield self, item
            else:
                group = getattr(self, item.name)
                yield from ((group, leaf) for leaf in dataclasses.fields(group))


def leaf_groups() -> dict[str, list[dataclasses.Field[Any]]]:
    """The settings by group, each with `metadata["help"]` and `metadata["rule"]`; `run` are those of the root."""
    root = [item for item in dataclasses.fields(Config) if "rule" in item.metadata]
    groups = {
        "sampler": SamplerConfig,
        "objective": ObjectiveConfig,
        "optimization": OptimizationConfig,
        "evaluation": EvaluationConfig,
    }
    return {"run": root, **{name: list(dataclasses.fields(group)) for name, group in groups.items()}}


def leaves() -> list[dataclasses.Field[Any]]:
    """All settings, in the order of the tree."""
    return [leaf for group in leaf_groups().values() for leaf in group]


def _part(owner: Any, values: Mapping[str, Scalar]) -> dict[str, Any]:
    own = {item.name for item in dataclasses.fields(owner) if "rule" in item.metadata}
    return {name: value for name, value in values.items() if name in own}


def _read(leaf: dataclasses.Field[Any], value: Any) -> Scalar:
    rule: Rule = leaf.metadata["rule"]
    try:
        return rule.read(value)
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{leaf.name} is {value!r}; it must be {rule.words}") from None


def _check(leaf: dataclasses.Field[Any], value: Scalar) -> None:
    rule: Rule = leaf.metadata["rule"]
    if not rule.allowed(value):
        raise UserError(f"{leaf.name} is {value!r}; it must be {rule.words}")
