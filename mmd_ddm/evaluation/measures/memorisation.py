"""Whether a model's images are nearer to the training images than these are to one another (paper, Section IV-D)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.neighbours import NeighbourAUC, nearest
from mmd_ddm.evaluation.verdict import CERTAIN

LEFT_OUT = 5000  # real images whose nearest other one is looked for
_CERTAIN = CERTAIN * math.sqrt(2)  # standard errors: leave-one-out distances make the stated one too small, by sqrt(2)


def left_out_distances(
    real: Vectors, count: int = LEFT_OUT, seed: int = 0, device: torch.device | None = None
) -> Tensor:
    """Distances of real images (M, D) to their nearest other one, (M,) or of `count` random ones of more, float64.

    Computed on a device (None: the features' own).
    """
    if len(real) <= count:
        return nearest(real, real, leave_one_out=True, device=device).distances[:, 0]
    order = torch.randperm(len(real), generator=NoiseSource(seed, "left out").generator())
    # the nearest of all is the image itself, at no distance
    return nearest(real[order[:count].sort().values], real, k=2, device=device).distances[:, 1]


def told(finetuned: NeighbourAUC, base: Mapping[int, NeighbourAUC], space: str) -> str:
    """What the numbers of a model say, in one sentence.

    The base model's are given by network evaluations; the model is held against the largest number of them. `space`
    says in which space distances were measured, and whether the model was trained on it.
    """
    others = " and ".join(f"{_percent(found)} with {steps}" for steps, found in sorted(base.items()))
    compared = f"; the base model's in {others} network evaluations" if base else ""
    return (
        f"Generated images are nearer to their nearest real image than real images are to theirs in "
        f"{_percent(finetuned)} of pairs in {space}, where 50 % means no nearer and 100 % copies{compared}: "
        f"{_conclusion(finetuned, base)}."
    )


def _conclusion(finetuned: NeighbourAUC, base: Mapping[int, NeighbourAUC]) -> str:
    error = _CERTAIN * finetuned.standard_error
    if finetuned.auc <= 0.5 + error:
        further = "; some lie further from the real ones than these from one another"
        return f"no sign that training images are copied{further if finetuned.auc < 0.5 - error else ''}"
    if base:
        reference = base[max(base)]
        if finetuned.auc <= reference.auc + _CERTAIN * math.hypot(finetuned.standard_error, reference.standard_error):
            of_base = "but no nearer than the base model's, so finetuning is not the cause"
            return f"nearer than new images would be, {of_base}"
    return "the model overfits, or its images are more alike than real ones; their nearest neighbours show which"


def _percent(found: NeighbourAUC) -> str:
    return f"{100 * found.auc:.0f} ± {100 * found.standard_error:.0f} %"
