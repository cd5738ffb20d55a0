"""The models that figures show beside each other: a finetuned one and its base model, each with a budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmd_ddm.cli.model_options import DEFAULT_STEPS, model_folder
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from mmd_ddm.diffusion.denoiser import Denoiser
    from mmd_ddm.evaluation.evaluator import Evaluator
    from mmd_ddm.experiment.build import Parts

FINETUNED, BASE, ONLY = "finetuned", "base", "model"
NO_BASE = "none"
STREAM = "evaluation"  # of the noise: the images that `evaluate` scores


class Compared(NamedTuple):
    """A model with its budget.

    Args:
        kind: finetuned, base, or model: one of which nothing more is known.
        evaluator: with its sampler and the noise that all start from.
        denoiser: the model.
    """

    kind: str
    evaluator: Evaluator
    denoiser: Denoiser

    @property
    def steps(self) -> int:
        """Network evaluations an image."""
        return len(self.evaluator.chain.timesteps)

    @property
    def name(self) -> str:
        """A name for files and metrics."""
        return f"{self.kind}_{self.steps}"

    @property
    def title(self) -> str:
        """A name for people, of two lines."""
        kind = "base model" if self.kind == BASE else self.kind
        return f"{kind}\n{self.steps} evaluation{'' if self.steps == 1 else 's'}"


def record_of(folder: Path) -> dict[str, Any]:
    """What finetuning left in a model's folder; empty for any other model.

    Raises:
        UserError: it is damaged.
    """
    from mmd_ddm.pretrained.export import RECORD
    from mmd_ddm.pretrained.record import sampling_settings

    if not (folder / RECORD).is_file():
        return {}
    sampling_settings(folder)  # refuses a damaged one
    record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return record


def trained_spaces(record: dict[str, Any]) -> list[str]:
    """Feature spaces of the loss; none where it is not known."""
    from mmd_ddm.features.mixture import parse_features

    return [name for _, name in parse_features(record["config"]["features"])] if "config" in record else []


def models_to_compare(
    parts: Parts, record: dict[str, Any], *, base: Path | None, steps: int | None, large: int, images: int
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
    from mmd_ddm.diffusion.samplers import make_chain
    from mmd_ddm.experiment.build import dataset_of
    from mmd_ddm.pretrained.load import check_fits, load_denoiser, unet_config
    from mmd_ddm.pretrained.record import sampling_settings

    own = {"steps": DEFAULT_STEPS, **sampling_settings(parts.folder)}
    asked = {} if steps in (None, own["steps"]) else {"steps": steps}

    def compared(kind: str, denoiser: Denoiser, settings: dict[str, Any]) -> Compared:
        chain = make_chain(denoiser.schedule, **{**own, **settings})
        return Compared(kind, parts.evaluator_with(chain, images, STREAM), denoiser)

    model = compared(FINETUNED if record else ONLY, parts.denoiser, asked)
    if base is None:
        longer = not record and large > model.steps
        return [model, compared(ONLY, model.denoiser, {"steps": large})] if longer else [model]
    check_fits(unet_config(base), dataset_of(parts.config))
    denoiser = load_denoiser(base).to(parts.device)
    # a model of other timesteps has them within itself; its base model is told them
    known = {key: record.get("config", {})[key] for key in ("schedule", "steps") if key in record.get("config", {})}
    models = [compared(BASE, denoiser, asked or known), model]
    return [*models, compared(BASE, denoiser, {"steps": large})] if large > model.steps else models


def base_of(record: dict[str, Any], asked: str | None) -> Path | None:
    """The folder of the base model that is asked for, or else of the one that a model was finetuned from.

    Args:
        record: of the model.
        asked: as `--model` has it, or none; None: the record's.

    Returns:
        None if there is none, or the record's is no longer to be had, which is told.

    Raises:
        UserError: the one that is asked for is not there.
    """
    from mmd_ddm.experiment.build import base_folder
    from mmd_ddm.experiment.config import Config

    if asked is not None:
        return None if asked == NO_BASE else model_folder(asked)
    if "config" not in record:
        return None
    try:
        return base_folder(Config.from_flat(record["config"]))
    except UserError as error:
        print(f"without the base model, which --base can name: {error}", file=sys.stderr)
        return None
