"""Figures of a finetuned model beside its base model, and how near their images come to the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.evaluation.evaluator import SAMPLING_BATCH, Evaluator
from mmd_ddm.evaluation.figures import image_figures as figures
from mmd_ddm.evaluation.figures.image_figures import Series
from mmd_ddm.evaluation.figures.labelled_sheet import LabelledSheet
from mmd_ddm.evaluation.figures.sheets import spread
from mmd_ddm.evaluation.measures.memorisation import left_out_distances, told
from mmd_ddm.evaluation.measures.neighbours import Neighbours, nearest, neighbour_auc
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config_groups import SamplerConfig, with_steps
from mmd_ddm.experiment.scoring.model_record import ModelRecord
from mmd_ddm.experiment.scoring.score import open_model
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, ScoredModel
from mmd_ddm.files import write_json

ONLY = "model"  # one of which nothing more is known
SHOWN, NEAREST = 6, 5  # images whose nearest real ones are drawn, and how many of these
PAIRS, POINTS = 4, 9  # of noises, and images from one to the other
CLASSES, OF_A_CLASS, REAL_OF_A_CLASS = 20, 8, 4  # classes that are drawn at most, and images of each


class Compared(NamedTuple):
    """A model with its budget, open; all start from the same noise."""

    role: str  # finetuned, base or model
    evaluator: Evaluator

    @property
    def title(self) -> str:
        """A name for people, of two lines."""
        nfe = self.evaluator.nfe
        return f"{'base model' if self.role == BASE else self.role}\n{nfe} evaluation{'' if nfe == 1 else 's'}"


def models_to_compare(
    parts: Parts, record: ModelRecord, *, base: Path | None, steps: int | None, large: int, images: int
) -> list[Compared]:
    """Base and finetuned model with one budget, then the base model with a larger one; or the only model there is.

    The model that is looked at is the base model of `parts`; `base` is the folder of its own base model, if there is
    one. `steps` (None: as finetuned) and `large` are budgets; `images` are generated for the numbers.
    """
    own, like = record.sampler, record.base_sampler
    plain = replace(own, sampler=like.sampler)  # a learned one is the model's alone
    if steps not in (None, own.steps):
        own, like = with_steps(own, steps), with_steps(plain, steps)

    def opened(role: str, sampler: SamplerConfig, folder: Path | None = None) -> Compared:
        return Compared(role, open_model(parts, ScoredModel(role, sampler), folder, images=images))

    model = opened(FINETUNED if record.finetuned else ONLY, own)
    models = [model] if base is None else [opened(BASE, like, base), model]
    if large > model.evaluator.nfe and not (base is None and record.finetuned):
        models.append(opened(ONLY if base is None else BASE, with_steps(plain, large), base))
    return models


class Drawn(NamedTuple):
    """The files, and what is known of the models beside them: metrics with their network evaluations."""

    files: list[Path]
    metrics: list[tuple[str, float, int]]


def draw(parts: Parts, models: Sequence[Compared], folder: Path, space: str, about: Mapping[str, object]) -> Drawn:
    """Draw all figures into a folder, models of one budget first; measure in the one feature space, and tell.

    `space` is that space in words; `about` is what the numbers are written with.
    """
    from mmd_ddm.evaluation.figures.distances import save_distances  # matplotlib takes a second

    images, name = parts.images, parts.config.images_name
    count = figures.columns(images.image_shape)
    equal = [model for model in models if model.evaluator.nfe == models[0].evaluator.nfe]
    shown = [Series(model.title, model.evaluator.sample(range(count)).cpu()) for model in models]
    chosen = torch.randperm(len(images), generator=models[0].evaluator.noise.generator(1))[:count]
    real = Series("real images", images.floats(chosen))
    samples = figures.samples_sheet(f"{name}: samples", shown, real).save(folder / "samples.png")

    by_class = _classes_sheet(parts, next(model for model in models if model.role != BASE), name)
    measured = _measure(parts, models, folder, space, about)
    found = [Neighbours(near.indices[:SHOWN], near.distances[:SHOWN]) for near in measured.near[: len(equal)]]
    near = [images.floats(each.indices.flatten()).unflatten(0, each.indices.shape) for each in found]
    some = [Series(title, sampled[:SHOWN]) for title, sampled in shown[: len(equal)]]
    note = f"Below real images: their distance in {space}."
    sheet = figures.neighbours_sheet(f"{name}: nearest real images", some, found, near, note)
    neighbours = sheet.save(folder / "neighbours.png")
    curves = {model.title: near.distances[:, 0].contiguous() for model, near in zip(models, measured.near, strict=True)}
    distances = save_distances(curves, measured.left_out, space, folder / "distances.png")

    fractions = [i / (POINTS - 1) for i in range(POINTS)]
    paths = [Series(model.title, _paths(model.evaluator, fractions)) for model in equal]
    sheet = figures.interpolation_sheet(f"{name}: from noise to noise", paths, fractions)
    if equal[0].evaluator.labels is not None:
        sheet = replace(sheet, note=f"{sheet.note} All images of a path are of the class of its first end.")
    files = [samples, measured.file, neighbours, distances, sheet.save(folder / "interpolation.png")]
    files += [] if by_class is None else [by_class.save(folder / "classes.png")]
    return Drawn(files, measured.metrics)


def _classes_sheet(parts: Parts, model: Compared, name: str) -> LabelledSheet | None:
    """Images of each class, or of some, beside real ones; none of an unconditional model."""
    evaluator, labels = model.evaluator, parts.images.labels
    if evaluator.labels is None or labels is None:
        return None
    chosen = spread(evaluator.labels.classes, CLASSES)
    columns, rows = min(OF_A_CLASS, evaluator.images // len(chosen) or 1), []
    for row, label in enumerate(chosen.tolist()):
        places = range(row * columns, (row + 1) * columns)
        generated = evaluator.sample(places, labels=torch.full((columns,), label)).cpu()
        real = (labels == label).nonzero()[:REAL_OF_A_CLASS, 0]
        rows.append((str(label), generated, parts.images.floats(real)))
    return figures.classes_sheet(f"{name}: classes", model.title, rows)


@torch.no_grad()
def _paths(evaluator: Evaluator, fractions: list[float]) -> Tensor:
    """Images (P F, C, H, W) on the way between pairs of the first noises."""
    denoiser, sampler = evaluator.denoiser, evaluator.sampler
    noise = evaluator.noise.draw(0, range(2 * PAIRS), sampler.draws, denoiser.image_shape)
    labels = None
    if evaluator.labels is not None:  # a path is of one class, that of its first end
        labels = evaluator.labels.draw(0, range(0, 2 * PAIRS, 2)).repeat_interleave(len(fractions))
    starts = Start(figures.interpolated(noise, fractions), labels).split(SAMPLING_BATCH)
    return torch.cat([sampler.sample(denoiser, *start.to(evaluator.device)).cpu() for start in starts])


class _Measured(NamedTuple):
    near: list[Neighbours]  # of each model's images
    left_out: Tensor  # of each real image the distance to the nearest other one
    metrics: list[tuple[str, float, int]]
    file: Path


def _measure(
    parts: Parts, models: Sequence[Compared], folder: Path, space: str, about: Mapping[str, object]
) -> _Measured:
    """Find the nearest real images of what each model makes, and tell whether they are too near."""
    ((key, real),) = parts.real.items()
    left_out = left_out_distances(real.features, seed=parts.config.seed, device=parts.device).cpu().contiguous()
    print(f"distance to the nearest real image in {space}, {about['images']} generated images each")
    print(f"{'':<28}{'median':>10}{'of real':>10}{'nearer than real':>20}")
    print(f"{'real images, to another one':<28}{left_out.median():>10.4g}{1:>10.2f}{'50 %':>20}", flush=True)
    found, numbers = [], []
    for model in models:
        near = nearest(model.evaluator.features()[key], real.features, NEAREST, device=parts.device)
        found.append(Neighbours(near.indices.cpu(), near.distances.cpu()))
        distances = found[-1].distances[:, 0].contiguous()
        numbers.append(number := neighbour_auc(distances, left_out))
        share = f"{100 * number.auc:.1f} ± {100 * number.standard_error:.1f} %"
        title = model.title.replace("\n", ", ")
        print(f"{title:<28}{distances.median():>10.4g}{number.median_ratio:>10.2f}{share:>20}", flush=True)
    measured = [(model.role, model.evaluator.nfe, number) for model, number in zip(models, numbers, strict=True)]
    looked_at = next(number for role, _, number in measured if role != BASE)
    sentence = told(looked_at, {nfe: number for role, nfe, number in measured if role == BASE}, space)
    print(f"\n{sentence}")
    file = folder / "figures.json"
    summary = {"median": float(left_out.median()), "images": len(left_out)}
    by_name = {f"{role}_{nfe}": number._asdict() for role, nfe, number in measured}
    write_json(file, {**about, "real": summary, "nn_auc": by_name, "told": sentence})
    metrics = [(f"{role}_nearer_than_real", number.auc, nfe) for role, nfe, number in measured]
    return _Measured(found, left_out, metrics, file)
