"""The configuration of a run: one typed, frozen tree.

The names of the settings are unique, and they are the only names: `--learning-rate` on the command line,
`learning_rate` in the search space, in MLflow and in the files of a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from mmd_ddm.data.catalogue import FINEST, dataset_names
from mmd_ddm.data.names import OWN
from mmd_ddm.diffusion.names import LEARNED as LEARNED_SAMPLER
from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config_groups import (
    ObjectiveConfig,
    OptimizationConfig,
    SamplerConfig,
    ScoringConfig,
    with_steps,
)
from mmd_ddm.experiment.names import images_name, read_budgets, read_name, read_place
from mmd_ddm.experiment.setting import Rule, Scalar, Setting, check, one_of, or_none, read, setting, whole
from mmd_ddm.finetuning.names import FRECHET, JOINT, MMD, WEIGHTS


# fmt: off
@dataclass(frozen=True)
class Config:
    """A run, complete; a value that is out of range or contradicts another is a UserError that names it."""

    dataset: str = setting("digits", one_of(*dataset_names()), "data set; own: the images that `data` names")
    data: str | None = setting(None, or_none(Rule(read_place, bool, "a path or hub:owner/name@revision:files")),
        "images in place of the data set's source: folder, Parquet, LMDB, CIFAR-10 archive, prepared store, hub")
    resolution: int | None = setting(None, or_none(whole(4, FINEST)),
        "height and width in pixels; none: the data set's; own data need it")
    name: str | None = setting(None, or_none(Rule(read_name, bool, "a letter or digit and up to 79 more characters")),
        "what one's own images are called in MLflow and its registry; none: as their folder")
    base_model: str | None = setting(None, or_none(Rule(read_place, bool, "a folder, hub id or checkpoint file")),
        "diffusers folder, hub id, or checkpoint file; none: the data set's own")
    seed: int = setting(0, whole(0, 2**32 - 1), "seed of all random numbers")
    # fmt: on
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    scoring: ScoringConfig = field(default_factory=ScoringConfig)

    def __post_init__(self) -> None:
        for item, value in zip(settings(), self.flat().values(), strict=True):
            check(item, value)
        parse_kernel(self.objective.kernel, self.objective.bandwidth)
        if self.objective.loss == FRECHET and self.objective.reference != "bank":
            said = f"reference is {self.objective.reference!r}, but loss {FRECHET} has the moments of the whole bank"
            raise UserError(f"{said}; leave it at bank")
        if self.objective.loss == FRECHET and self.objective.matching == JOINT:
            said = f"matching is {JOINT}, but loss {FRECHET} compares means and covariances, which no label enters"
            raise UserError(f"{said}; use loss {MMD}, or matching marginal")
        if self.dataset == OWN and (self.data is None or self.resolution is None):
            raise UserError(f"dataset is {OWN}, which needs data (where the images are) and resolution (in pixels)")
        if self.dataset != OWN and self.name is not None:
            said = f"name is {self.name!r}, but it is for images of one's own"
            raise UserError(f"{said}; leave it out with {self.dataset}")
        self._check_sampler()
        self._check_budgets()

    def _check_sampler(self) -> None:
        how = self.sampler
        if how.sampler != "ddim" and how.eta != 0:
            instead = "ddpm has variance instead" if how.sampler == "ddpm" else f"{how.sampler} has none"
            raise UserError(f"eta is {how.eta}, but it belongs to sampler ddim; {instead}")
        if how.sampler != "ddpm" and how.variance != "model":
            instead = "ddim has eta" if how.sampler == "ddim" else f"{how.sampler} has none"
            raise UserError(f"variance is {how.variance!r}, but it belongs to sampler ddpm; {instead}")
        if self.optimization.learn != WEIGHTS and (how.sampler in ("ddpm", LEARNED_SAMPLER) or how.eta):
            said = f"learn is {self.optimization.learn}, but sampler {how.sampler}"
            why = "was learned before" if how.sampler == LEARNED_SAMPLER else "draws noise"
            raise UserError(f"{said} {why}; choose another, or ddim with eta 0")

    def _check_budgets(self) -> None:
        if len(self.budgets) < len((self.sampler.steps, *self._other_budgets)):
            said = f"other_steps is {self.optimization.other_steps}, but steps is {self.sampler.steps} already"
            raise UserError(f"{said}; name each budget once")
        if self.optimization.learn != WEIGHTS and len(self.budgets) > 1:
            budgets = ",".join(map(str, self.budgets))
            said = f"learn is {self.optimization.learn}, but steps is {budgets}"
            raise UserError(f"{said}, and a sampler is learned for one budget; name one")

    @property
    def budgets(self) -> tuple[int, ...]:
        """All numbers of network evaluations that the weights are finetuned for, the smallest first."""
        return tuple(sorted({self.sampler.steps, *self._other_budgets}))

    @property
    def samplers(self) -> dict[int, SamplerConfig]:
        """How images are generated with each budget, the smallest first."""
        own = self.sampler
        return {steps: own if steps == own.steps else with_steps(own, steps) for steps in self.budgets}

    @property
    def _other_budgets(self) -> tuple[int, ...]:
        return tuple(int(each) for each in (self.optimization.other_steps or "").split(",") if each)

    def at_budget(self, steps: int) -> Config:
        """The same run as seen from one of its budgets."""
        others = ",".join(str(each) for each in self.budgets if each != steps)
        return self.replace(steps=steps, other_steps=others or None)

    @property
    def images_name(self) -> str:
        """What the data set is called where runs are recorded."""
        return images_name(self.dataset, self.data, self.name)

    @classmethod
    def from_flat(cls, values: Mapping[str, object]) -> Config:
        """Build from `flat()`'s form; missing settings keep their defaults."""
        return cls().replace(**values)

    def flat(self) -> dict[str, Scalar]:
        """All settings by name, in the order of the tree: for files, Ray and MLflow."""
        owners = {"run": self, **{name: getattr(self, name) for name in _GROUPS}}
        groups = setting_groups().items()
        return {item.name: getattr(owners[name], item.name) for name, group in groups for item in group}

    def trajectory(self) -> dict[str, Scalar]:
        """The settings that decide the weights after each update; a run may be continued with others of the rest."""
        aside = {"updates", "name", *(item.name for item in setting_groups()["scoring"])}
        return {name: value for name, value in self.flat().items() if name not in aside}

    def replace(self, **values: object) -> Config:
        """A copy with other values, text read as the setting's type; unknown names and wrong values are UserErrors.

        A budget of 1 without a schedule takes the schedule of `with_steps`.
        """
        known, values = [item.name for item in settings()], _apart(values)
        for name in values:
            if name not in known:
                raise UserError(f"{name!r} is not a setting; the settings are {', '.join(known)}")
        parts = {
            name: {item.name: read(item, values[item.name]) for item in group if item.name in values}
            for name, group in setting_groups().items()
        }
        groups = {name: dataclasses.replace(getattr(self, name), **parts[name]) for name in _GROUPS}
        if "steps" in values and "schedule" not in values:
            groups["sampler"] = with_steps(groups["sampler"], groups["sampler"].steps)
        return dataclasses.replace(self, **parts["run"], **groups)  # type: ignore[arg-type]


def _apart(values: Mapping[str, object]) -> dict[str, object]:
    """Values with several budgets, if `steps` names them, as the largest and the others."""
    if "," not in (steps := str(values.get("steps"))):
        return dict(values)
    try:
        *others, largest = read_budgets(steps).split(",")
    except ValueError:
        raise UserError(f"steps is {steps!r}; it must be whole numbers of at least 1, such as 2,3,5") from None
    return {**values, "steps": largest, "other_steps": ",".join(others) or None}


_GROUPS = {
    "sampler": SamplerConfig, "objective": ObjectiveConfig, "optimization": OptimizationConfig,
    "scoring": ScoringConfig,
}  # fmt: skip


@cache
def setting_groups() -> dict[str, tuple[Setting, ...]]:
    """The settings by group, each with `metadata["help"]` and `metadata["rule"]`; `run` are those of the root."""
    root = tuple(item for item in dataclasses.fields(Config) if "rule" in item.metadata)
    return {"run": root, **{name: dataclasses.fields(group) for name, group in _GROUPS.items()}}


def settings() -> list[Setting]:
    """All settings, in the order of the tree."""
    return [item for group in setting_groups().values() for item in group]
