"""The scores at the end of a study: the finalists beside their base model, on noise that no trial was chosen by.

The best of several trials looks better than it is on the noise that they were compared on. So it is scored anew, as
exported, and with it those that can't be told from it; by these scores the winner is found. Beside them stand the base
model at the same budget and at larger ones, and real images as a floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from mmd_ddm.evaluation.evaluator import Evaluator
from mmd_ddm.evaluation.metrics import kids
from mmd_ddm.evaluation.verdict import Score
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import SamplerConfig, with_steps
from mmd_ddm.experiment.run_folder import MODEL
from mmd_ddm.experiment.scoring.model_record import read_record
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, LARGER, Scored, ScoredModel, read_scored
from mmd_ddm.precision import FP32
from tune.study.folder import Study
from tune.study.settings import SearchSettings

SCORES, SHEETS = "scores.json", "samples"
STREAM = "final"
SHOWN = 24  # images on a sheet


def wanted_models(first: SamplerConfig, chosen: Mapping[int, SamplerConfig], length: int) -> list[ScoredModel | None]:
    """List what is scored, the longest to measure first; None are the real images.

    Args:
        first: The first trial's sampler; scores are relative to the base model sampled like it.
        chosen: The finalists' samplers by number.
        length: T, the largest budget of the base model.
    """
    budgets = {sampler.steps for sampler in chosen.values()}
    larger = {steps for steps in LARGER if min(budgets) < steps <= length}
    base = [ScoredModel(BASE, with_steps(SamplerConfig(), steps)) for steps in sorted(larger | budgets, reverse=True)]
    relative = ScoredModel(BASE, first)
    finetuned = [ScoredModel(FINETUNED, sampler, number) for number, sampler in chosen.items()]
    return [*base, *([relative] if relative not in base else []), *finetuned, None]


def read_final_scores(study: Study[SearchSettings]) -> list[Scored]:
    """Return the scores that were measured, by budget, the base model before the finetuned one, real images first."""

    def key(row: Scored) -> tuple[int, bool, str]:
        return (0, False, "") if row.model is None else (row.nfe, row.model.role == FINETUNED, row.model.label)

    return sorted(read_scored(study.folder / SCORES), key=key)


def plain_base(rows: Sequence[Scored]) -> dict[int, Scored]:
    """Return the base model's scores by deterministic DDIM on linear timesteps, by budget, the smallest first."""
    found = {row.nfe: row for row in rows if row.model == ScoredModel(BASE, with_steps(SamplerConfig(), row.nfe))}
    return dict(sorted(found.items()))


def beside_base(rows: Sequence[Scored], trial: int) -> tuple[Scored, Scored] | None:
    """Return the scores of the base model and of a trial's with equally many network evaluations, if both are there."""
    finetuned = next((row for row in rows if row.model is not None and row.model.trial == trial), None)
    if finetuned is None or finetuned.model is None:
        return None
    base = plain_base(rows).get(finetuned.model.sampler.steps)
    return None if base is None else (base, finetuned)


def kid_scores(row: Scored) -> dict[str, Score]:
    """Return KID by feature space."""
    return {space: Score(kid.value, kid.stderr) for space, kid in kids(row.metrics).items()}


def sheet_file(study: Study[SearchSettings], row: Scored) -> Path:
    """Return where the sheet with some images of what was scored is kept."""
    return study.folder / SHEETS / f"{'real' if row.model is None else row.model.name}.png"


def measure(folder: Path, model: ScoredModel | None, images: int) -> Scored:
    """Score a model, or (None) the real images, and draw some images; runs in a process of Ray."""
    study = Study.open(folder, SearchSettings)
    return measure_with(make_parts(study.settings.first, study.settings.machines.cpus), study, model, images)


def measure_with(parts: Parts, study: Study[SearchSettings], model: ScoredModel | None, images: int) -> Scored:
    """Score as `measure` does with the parts of the first trial's configuration, as one of its workers."""
    from mmd_ddm.diffusion.noise import NoiseSource
    from mmd_ddm.evaluation.figures.sheets import save_sheet
    from mmd_ddm.experiment.scoring.score import score, score_real

    if model is None:
        order = torch.randperm(len(parts.images), generator=NoiseSource(parts.config.seed, "shown").generator(0))
        shown, row = parts.images.floats(order[:SHOWN]), score_real(parts)
    else:
        exported = study.trial_folder(model.trial) / MODEL if model.trial is not None else None
        evaluator = open_exported(parts, model, exported, images, parts.config.seed)
        shown, row = evaluator.sample(range(min(SHOWN, images))), score(evaluator, model)
    if parts.collective.rank == 0:
        sheet = sheet_file(study, row)
        sheet.parent.mkdir(exist_ok=True)
        save_sheet(shown, sheet, columns=SHOWN // 2)
    return row


@lru_cache(maxsize=1)  # Ray gives the tasks of a study to the same few processes
def make_parts(config: Config, threads: int) -> Parts:
    """Return the parts of a configuration, the same again while it is the same; they calculate in fp32."""
    torch.set_num_threads(threads)
    return Parts(config.replace(precision=FP32))


def open_exported(parts: Parts, model: ScoredModel, exported: Path | None, images: int, seed: int) -> Evaluator:
    """Load an exported pipeline, or (None) the base model, with noise that no model was trained or chosen by.

    A finetuned model has its timesteps within itself.
    """
    from mmd_ddm.experiment.scoring.score import open_model

    how = model if exported is None else replace(model, sampler=read_record(exported).sampler)
    return open_model(parts, how, exported, images=images, stream=STREAM, seed=seed)
