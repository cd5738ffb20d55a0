"""An evaluation: several models and samplers, budgets and seeds, against the same real images."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmd_ddm.diffusion.baselines import BASELINES, make_baseline
from mmd_ddm.diffusion.samplers import SAMPLERS, make_chain
from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import Sampler
from mmd_ddm.evaluation.floor import real_floor
from mmd_ddm.evaluation.metrics import measure, spaces_of
from mmd_ddm.experiment.build import Parts, dataset_of
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import write_json
from mmd_ddm.pretrained.load import check_fits, load_denoiser, unet_config

STREAM = "evaluation"
FINETUNED, BASE, REAL = "finetuned", "base", "real"
ALL_SAMPLERS = BASELINES  # ddim and ddpm are among them


@dataclass(frozen=True)
class Subject:
    """What is scored.

    Args:
        model: `finetuned` or `base`.
        folder: of the model.
        sampler: a name of `SAMPLERS` or `BASELINES`.
        steps: network evaluations an image.
        how: schedule, eta and variance of a sampler of our own.
    """

    model: str
    folder: str
    sampler: str
    steps: int
    how: dict[str, Any] = field(default_factory=dict)

    def make(self, noise_schedule: Any) -> Sampler:
        """The sampler.

        Raises:
            UserError: it can't have that budget, or the model doesn't have what it needs.
        """
        if self.sampler in SAMPLERS:
            return make_chain(noise_schedule, sampler=self.sampler, steps=self.steps, **self.how)
        return make_baseline(self.sampler, noise_schedule, self.steps)


@dataclass(frozen=True)
class Result:
    """Scores of a subject from one seed; of real images the subject is None."""

    subject: Subject | None
    evaluations: int
    seed: int
    images: int
    scores: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored.

    Args:
        config: leaves that name images and feature spaces.
        subjects: what is scored, in order.
        images: generated images of each.
        seeds: of the noise.
        measures: names of `MEASURES`.
        file: where all results go, as JSON, as they come.
    """

    config: dict[str, Any]
    subjects: tuple[Subject, ...]
    images: int
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    file: str
    show: Callable[[Result], None]

    def __call__(self, collective: Collective, device: torch.device) -> None:
        """Do it, as one of the workers."""
        parts = Parts(Config.from_flat(self.config), device, collective)
        results: list[Result] = []

        def tell(result: Result) -> None:
            results.append(result)
            if collective.rank == 0:
                write_json(Path(self.file), [asdict(each) for each in results])
                self.show(result)

        for folder in dict.fromkeys(subject.folder for subject in self.subjects):
            check_fits(unet_config(Path(folder)), dataset_of(parts.config))
            denoiser = load_denoiser(Path(folder)).to(device)
            for subject in self.subjects:
                if subject.folder == folder:
                    sampler = subject.make(denoiser.schedule)
                    for seed in self.seeds:
                        evaluator = parts.evaluator_with(sampler, self.images, STREAM, seed)
                        scores = measure(evaluator.features(denoiser), parts.real, self.measures)
                        tell(Result(subject, len(sampler.timesteps), seed, self.images, scores))
        if collective.rank == 0 and {"kid", "fid"} & set(self.measures):
            tell(_floor(parts, self.measures))


def _floor(parts: Parts, measures: Collection[str]) -> Result:
    """Random halves of the real images against each other."""
    half = len(parts.images) // 2
    scores: dict[str, float] = {}
    for name, real in parts.real.items():
        if name not in spaces_of(measures):
            found = real_floor(real.features, device=parts.device)
            if "kid" in measures:
                scores |= {f"kid_{name}": found.kid, f"kid_{name}_stderr": found.kid_deviation}
            if "fid" in measures:
                scores[f"fid_{name}_{half}"] = found.fid
    return Result(None, 0, 0, half, scores)


def read_results(file: Path) -> list[Result]:
    """The results that an evaluation wrote."""
    rows = json.loads(file.read_text())
    return [Result(**{**row, "subject": row["subject"] and Subject(**row["subject"])}) for row in rows]


def possible(subjects: Sequence[Subject], noise_schedule: Any) -> list[Subject]:
    """Those whose sampler can have their budget."""
    found = []
    for subject in subjects:
        try:
            subject.make(noise_schedule)
        except UserError:
            continue
        found.append(subject)
    return found
