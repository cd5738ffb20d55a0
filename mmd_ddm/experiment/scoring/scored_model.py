"""What is scored and what came out: a model with its sampler, its metrics, and both in files."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from mmd_ddm.diffusion.budgets import is_guided
from mmd_ddm.diffusion.names import BASELINES, SAMPLERS
from mmd_ddm.evaluation.metrics import Metrics, flat, kids, read_metrics
from mmd_ddm.experiment.config import setting_groups
from mmd_ddm.experiment.config_groups import SamplerConfig, with_steps
from mmd_ddm.experiment.setting import check
from mmd_ddm.files import write_json
from mmd_ddm.records import Record, read_json

FINETUNED, BASE = "finetuned", "base"
ADVICE = "delete it, and score again"  # where a file of scores is damaged
LARGER = (20, 50)  # budgets of the base model to compare a finetuned one with


@dataclass(frozen=True)
class ScoredModel:
    """A model with a sampler that is scored: one of our own, or the name and steps of one of `BASELINES`."""

    role: str  # finetuned or base
    sampler: SamplerConfig
    trial: int | None = None  # the number of the one that finetuned it

    @property
    def name(self) -> str:
        """A name for files and metrics."""
        if self.role == FINETUNED:
            return FINETUNED if self.trial is None else f"{FINETUNED}_{self.trial:03d}"
        plain = self.sampler == with_steps(SamplerConfig(), self.sampler.steps)
        return f"{BASE}_{self.sampler.steps}" if plain else f"{BASE}_counterpart"

    @property
    def title(self) -> str:
        """A name for people."""
        s, who = self.sampler, "base model" if self.role == BASE else self.role
        schedule, sampler = s.schedule if s.schedule != "linear" else "", s.sampler if s.sampler != "ddim" else ""
        eta = f"eta {s.eta:g}" if s.eta else ""
        guided = f"guidance {s.guidance_scale:g}" if is_guided(s.guidance_scale) else ""
        return ", ".join(filter(None, (who, f"{s.steps} evaluations", schedule, sampler, eta, guided)))

    @property
    def label(self) -> str:
        """The title with the trial's number."""
        return self.title if self.trial is None else f"{self.title} (trial {self.trial:03d})"


@dataclass(frozen=True)
class Scored:
    """The metrics of a model, or, without one, of real images against each other, in every feature space."""

    model: ScoredModel | None
    metrics: Metrics
    images: int  # of real ones, in each half
    nfe: int = 0  # network evaluations an image
    seed: int = 0  # of the noise
    by_class: tuple[Metrics, ...] = ()  # the same of each class by itself, where that was asked for

    @property
    def label(self) -> str:
        """What was scored, for people."""
        return "real images" if self.model is None else self.model.label


def base_counterpart(sampler: SamplerConfig) -> ScoredModel:
    """Return the base model sampled like a finetuned one: what its sampler and timesteps alone are worth."""
    return ScoredModel(BASE, sampler)


def relative_score(metrics: Metrics, baseline: Metrics) -> float:
    """The largest KID over feature spaces, relative to the base model's there: 1 is the base model, 0 is perfect.

    The worst space, so that what was gained in a space that was trained on can't make up for what was lost in others:
    a model's own spaces never make its score better than the spaces outside of its loss say, and models with
    different losses are measured alike. Relative, so that scales do not matter. Where the base model's KID is not
    clear of its noise, twice its standard error stands in for it: an unbiased KID may be negative, and must not turn
    the order round. A KID that is not a number makes the score none.
    """
    found, scales = kids(metrics), _scales(baseline)
    space = worst_space(metrics, baseline)
    return found[space].value / scales[space]


def relative_error(metrics: Metrics, baseline: Metrics) -> float:
    """The standard error of `relative_score`: of the KID in the worst space, in units of the base model's there."""
    space = worst_space(metrics, baseline)
    return (kids(metrics)[space].stderr or 0.0) / _scales(baseline)[space]


def worst_space(metrics: Metrics, baseline: Metrics) -> str:
    """The feature space that `relative_score` is of."""
    found, scales = kids(metrics), _scales(baseline)
    relative = {space: found[space].value / scale for space, scale in scales.items()}
    return max(relative, key=lambda space: (math.isnan(relative[space]), relative[space]))


def _scales(baseline: Metrics) -> dict[str, float]:
    return {space: max(kid.value, 2 * (kid.stderr or 0.0)) for space, kid in kids(baseline).items()}


def read_scored(file: Path) -> list[Scored]:
    """Read what `write_scored` wrote; nothing where there is no file."""
    rows = Record({"scores": read_json(file, ADVICE) if file.exists() else []}, str(file), ADVICE).records("scores")
    return [_read_scored(row) for row in rows]


def _read_scored(row: Record) -> Scored:
    model = None
    if "model" in row:
        of = row.record("model")
        with of.reading():
            sampler = SamplerConfig(**of.mapping("sampler"))  # type: ignore[arg-type]  # its rules are checked below
            of.record("sampler").one_of("sampler", *BASELINES, *SAMPLERS)  # not of our own chains alone
            for item in setting_groups()["sampler"]:
                if item.name != "sampler":
                    check(item, getattr(sampler, item.name))
        model = ScoredModel(of.text("role"), sampler, of.whole("trial") if "trial" in of else None)
    metrics = read_metrics(row.record("scores").numbers())
    by_class = tuple(read_metrics(each.numbers()) for each in row.records("by_class")) if "by_class" in row else ()
    return Scored(model, metrics, row.whole("images"), row.whole("nfe"), row.whole("seed"), by_class)


def write_scored(file: Path, rows: Iterable[Scored]) -> None:
    """Write scores as JSON, whole or not at all."""
    write_json(file, [
        {"model": row.model and asdict(row.model), "images": row.images, "nfe": row.nfe, "seed": row.seed,
         "scores": flat(row.metrics), **({"by_class": [flat(each) for each in row.by_class]} if row.by_class else {})}
        for row in rows
    ])  # fmt: skip
