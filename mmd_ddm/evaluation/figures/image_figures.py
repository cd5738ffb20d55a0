"""The figures of a finetuned model that are made of images (paper, Figures 3, 8, 9 and 10)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.evaluation.figures.interpolation import slerp
from mmd_ddm.evaluation.figures.labelled_sheet import GAP, SIDE, LabelledSheet, Line
from mmd_ddm.evaluation.measures.neighbours import Neighbours


class Series(NamedTuple):
    """Images of one model, under its name; those of the real images alike."""

    title: str
    images: Tensor  # (N, C, H, W) in [-1, 1]


def columns(image_shape: tuple[int, int, int]) -> int:
    """How many images of a shape (C, H, W) a row of samples has: 8 to 16, as 1700 pixels hold."""
    side = image_shape[-1] * max(1, -(-SIDE // min(image_shape[-2:])))
    return max(8, min(16, 1700 // (side + GAP)))


def samples_sheet(title: str, models: Sequence[Series], real: Series) -> LabelledSheet:
    """Each model's images of the same noise in the same order, one noise a column, above any real images."""
    lines = [*(Line(*series) for series in models), Line(*real, apart=True)]
    return LabelledSheet(title, lines, note="Each column starts from one noise; the real images are chosen at random.")


def classes_sheet(title: str, model: str, rows: Sequence[tuple[str, Tensor, Tensor]]) -> LabelledSheet:
    """A row for each class: its label, images that a model made of it, and real ones."""
    generated = len(rows[0][1])
    most = max(len(real) for _, _, real in rows)
    above = {(0, generated - 1): model.replace("\n", ", "), (generated, generated + most - 1): "real images"}
    lines = [Line(label, torch.cat([made, real])) for label, made, real in rows]
    return LabelledSheet(title, lines, (above,), breaks=[generated])


def neighbours_sheet(
    title: str, models: Sequence[Series], found: Sequence[Neighbours], nearest: Sequence[Tensor], note: str
) -> LabelledSheet:
    """Generated images with their nearest real ones (paper, Figures 3 and 8), the models side by side.

    Image i of all models is of the same noise. `nearest` are each model's (N, k, C, H, W) neighbours, below which the
    distances `found` stand; the note says in what they are measured.
    """
    count, k = found[0].distances.shape
    longest = max(float(each.distances.max()) for each in found)
    places = max(0, 2 - math.floor(math.log10(longest))) if longest > 0 else 0  # three digits of the longest
    lines = []
    for i in range(count):
        parts = [[model.images[i : i + 1], near[i]] for model, near in zip(models, nearest, strict=True)]
        images = torch.cat([part.cpu() for each in parts for part in each])
        written = [[f"{value:.{places}f}" for value in each.distances[i].tolist()] for each in found]
        captions = [text for each in written for text in ("", *each)]
        lines.append(Line("", images, captions, framed=range(0, len(captions), 1 + k)))
    starts = range(0, len(models) * (1 + k), 1 + k)
    above = {(start, start + k): model.title.replace("\n", ", ") for start, model in zip(starts, models, strict=True)}
    below = {(start, start): "sample" for start in starts}
    below |= {(start + 1, start + k): f"its {k} nearest real images" for start in starts}
    return LabelledSheet(title, lines, (above, below), breaks=[*starts[1:]], note=note)


def interpolated(noise: Tensor, fractions: Sequence[float]) -> Tensor:
    """Noise between pairs of noises along great circles (paper, Equation 8).

    All of a chain's draws are interpolated, each by itself, so that the end points give the plain samples also where
    a sampler adds noise on the way. Of noise (draws, 2 P, C, H, W), where 2 p and 2 p + 1 are the end points of pair p,
    and F fractions from 0 to 1 it makes (draws, P F, C, H, W), pair after pair.
    """
    draws, pairs = len(noise), noise.shape[1] // 2
    ends = noise.unflatten(1, (pairs, 2)).flatten(0, 1)  # (draws P, 2, C, H, W)
    return slerp(ends[:, 0], ends[:, 1], fractions).reshape(draws, -1, *noise.shape[2:])


def interpolation_sheet(title: str, models: Sequence[Series], fractions: Sequence[float]) -> LabelledSheet:
    """The images (P F, C, H, W) along each path of `interpolated`, a row for each model, the end points framed."""
    steps, last = len(fractions), len(fractions) - 1
    lines = [
        Line(model.title, path.cpu(), framed=(0, last), apart=pair > 0 and model is models[0])
        for pair, paths in enumerate(zip(*(model.images.split(steps) for model in models), strict=True))
        for model, path in zip(models, paths, strict=True)
    ]
    heading = {(i, i): f"{'α = ' if i == 0 else ''}{fraction:.3g}" for i, fraction in enumerate(fractions)}
    note = (
        "Above each column: the fraction α of the way from one noise to the other along the great circle between them; "
        "framed: its ends. The ends of pair p are columns 2p - 1 and 2p of the samples."
    )
    return LabelledSheet(title, lines, (heading,), note=note)
