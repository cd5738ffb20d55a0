"""The models that figures show beside each other: a finetuned one and its base model, each with a budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.evaluation.evaluator import Evaluator
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import SamplerConfig
from mmd_ddm.experiment.scoring.model_record import ModelRecord
from mmd_ddm.experiment.scoring.score import open_model
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, ScoredModel

ONLY = "model"  # one of which nothing more is known


class Compared(NamedTuple):
    """A model with its budget, open; all start from the same noise."""

    role: str  # finetuned, base or model
    evaluator: Evaluator

    @property
    def name(self) -> str:
        """A name for files and metrics."""
        return f"{self.role}_{self.evaluator.nfe}"

    @property
    def title(self) -> str:
        """A name for people, of two lines."""
        kind = "base model" if self.role == BASE else self.role
        return f"{kind}\n{self.evaluator.nfe} evaluation{'' if self.evaluator.nfe == 1 else 's'}"


def models_to_compare(
    parts: Parts, record: ModelRecord, *, base: Path | None, steps: int | None, large: int, images: int
) -> list[Compared]:
    """Base and finetuned model with one budget, then the base model with a larger one; or the only model there is.

    Args:
        parts: of the data set; its base model is the model that is looked at.
        record: of that model.
        base: folder of its own base model, if there is one.
        steps: network evaluations; None: as finetuned.
        large: the larger budget; left out where it is none.
        images: how many the numbers are taken over.

    Raises:
        UserError: a budget that a model cannot have, or a base model of other images.
    """
    own = record.sampler
    asked = None if steps in (None, own.steps) else steps

    def opened(role: str, sampler: SamplerConfig, folder: Path | None = None) -> Compared:
        return Compared(role, open_model(parts, ScoredModel(role, sampler), folder, images=images))

    model = opened(FINETUNED if record.finetuned else ONLY, own if asked is None else replace(own, steps=asked))
    if base is None:
        longer = not record.finetuned and large > model.evaluator.nfe
        return [model, opened(ONLY, replace(own, steps=large))] if longer else [model]
    like = record.base_sampler if asked is None else replace(own, steps=asked)
    models = [opened(BASE, like, base), model]
    longer = large > model.evaluator.nfe
    return [*models, opened(BASE, replace(own, steps=large), base)] if longer else models
