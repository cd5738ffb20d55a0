"""The figures of models that are compared, and how near their images come to the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.experiment.inference.compared import Compared
from mmd_ddm.experiment.scoring.scored_model import BASE

if TYPE_CHECKING:
    from torch import Tensor

    from mmd_ddm.evaluation.measures.neighbours import Neighbours
    from mmd_ddm.experiment.build import Parts

SHOWN, NEAREST = 6, 5  # images whose nearest real ones are drawn, and how many of these
PAIRS, POINTS = 4, 9  # of noises, and images from one to the other


@dataclass
class Kept:
    """What is told at the end and goes into MLflow."""

    files: list[Path] = field(default_factory=list)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Drawing:
    """What the figures are drawn of.

    Args:
        parts: with the real images and one feature space.
        models: those of one budget first.
        folder: of the files.
        space: the feature space in words.
        kept: filled on the way.
    """

    parts: Parts
    models: Sequence[Compared]
    folder: Path
    space: str
    kept: Kept


def draw(drawing: Drawing, about: Mapping[str, object]) -> None:
    """Draw all figures, measure and tell, and write the files.

    Args:
        drawing: what they are drawn of.
        about: what the numbers are written with.
    """
    import torch

    from mmd_ddm.evaluation.figures.distances import save_distances
    from mmd_ddm.evaluation.figures.image_figures import (
        Series,
        columns,
        interpolation_sheet,
        neighbours_sheet,
        samples_sheet,
    )

    images, models, folder, files = drawing.parts.images, drawing.models, drawing.folder, drawing.kept.files
    name, count = drawing.parts.config.dataset, columns(images.image_shape)
    equal = [model for model in models if model.evaluator.nfe == models[0].evaluator.nfe]
    shown = [Series(model.title, model.evaluator.sample(range(count)).cpu()) for model in models]
    chosen = torch.randperm(len(images), generator=models[0].evaluator.noise.generator(1))[:count]
    real = Series("real images", images.floats(chosen))
    files.append(samples_sheet(f"{name}: samples", shown, real).save(folder / "samples.png"))

    found, distances, left_out = _measure(drawing, about)
    note = f"Below real images: their distance in {drawing.space}."
    near = [images.floats(each.indices.flatten()).unflatten(0, each.indices.shape) for each in found[: len(equal)]]
    samples = [Series(title, some[:SHOWN]) for title, some in shown[: len(equal)]]
    sheet = neighbours_sheet(f"{name}: nearest real images", samples, found[: len(equal)], near, note)
    files.append(sheet.save(folder / "neighbours.png"))
    curves = {model.title: each for model, each in zip(models, distances, strict=True)}
    files.append(save_distances(curves, left_out, drawing.space, folder / "distances.png"))

    fractions = [i / (POINTS - 1) for i in range(POINTS)]
    paths = [Series(model.title, _paths(model, fractions)) for model in equal]
    sheet = interpolation_sheet(f"{name}: from noise to noise", paths, fractions)
    files.append(sheet.save(folder / "interpolation.png"))


def _paths(model: Compared, fractions: list[float]) -> Tensor:
    """Images (P F, C, H, W) on the way between pairs of the first noises."""
    import torch

    from mmd_ddm.evaluation.evaluator import SAMPLING_BATCH
    from mmd_ddm.evaluation.figures.image_figures import interpolated

    denoiser, sampler, device = model.evaluator.denoiser, model.evaluator.sampler, model.evaluator.device
    noise = model.evaluator.noise.draw(0, range(2 * PAIRS), sampler.draws, denoiser.image_shape)
    pieces = interpolated(noise, fractions).split(SAMPLING_BATCH, dim=1)
    with torch.no_grad():
        return torch.cat([sampler.sample(denoiser, piece.to(device)).cpu() for piece in pieces])


def _measure(drawing: Drawing, about: Mapping[str, object]) -> tuple[list[Neighbours], list[Tensor], Tensor]:
    """Each model's nearest real images of what is drawn, its distances to the nearest, and the real images' own."""
    from mmd_ddm.evaluation.measures.memorisation import left_out_distances, told
    from mmd_ddm.evaluation.measures.neighbours import Neighbours, nearest, neighbour_auc
    from mmd_ddm.files import write_json

    parts, kept = drawing.parts, drawing.kept
    ((space, real),) = parts.real.items()
    left_out = left_out_distances(real.features, seed=parts.config.seed, device=parts.device).cpu().contiguous()
    print(f"distance to the nearest real image in {drawing.space}, {about['images']} generated images each")
    print(f"{'':<28}{'median':>10}{'of real':>10}{'nearer than real':>20}")
    print(f"{'real images, to another one':<28}{left_out.median():>10.4g}{1:>10.2f}{'50 %':>20}", flush=True)
    found, distances, numbers = [], [], []
    for model in drawing.models:
        near = nearest(model.evaluator.features()[space], real.features, NEAREST, device=parts.device)
        found.append(Neighbours(near.indices[:SHOWN].cpu(), near.distances[:SHOWN].cpu()))
        distances.append(near.distances[:, 0].cpu().contiguous())
        numbers.append(number := neighbour_auc(distances[-1], left_out))
        share = f"{100 * number.auc:.1f} ± {100 * number.standard_error:.1f} %"
        title = model.title.replace("\n", ", ")
        print(f"{title:<28}{distances[-1].median():>10.4g}{number.median_ratio:>10.2f}{share:>20}", flush=True)
        kept.metrics.append((f"{model.role}_nearer_than_real", number.auc, model.evaluator.nfe))
    measured = list(zip(drawing.models, numbers, strict=True))
    looked_at = next(number for model, number in measured if model.role != BASE)
    base = {model.evaluator.nfe: number for model, number in measured if model.role == BASE}
    sentence = told(looked_at, base, drawing.space)
    print(f"\n{sentence}")
    summary = {"median": float(left_out.median()), "images": len(left_out)}
    by_name = {model.name: number._asdict() for model, number in measured}
    file = drawing.folder / "figures.json"
    write_json(file, {**about, "real": summary, "nn_auc": by_name, "told": sentence})
    kept.files.append(file)
    return found, distances, left_out
