"""The floor of a score: what real images score against other real images of the same data set."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.fid import fid
from mmd_ddm.evaluation.measures.kid import kid


class Floor(NamedTuple):
    """KID and FID between two halves of the real images, and the standard deviation of that KID over splits."""

    kid: float
    kid_deviation: float
    fid: float


def real_floor(features: Vectors, splits: int = 10, seed: int = 0, device: torch.device | None = None) -> Floor:
    """Score random halves of the real features (M, D), M at least 8, against each other, a few times over.

    Random, since data sets are often sorted: neighbouring rows may be more alike than chance. KID's expectation is 0;
    FID is biased upwards by the small number of images, so it is a floor for that number only. Computed on a device
    (None: the features' own).
    """
    source, kids, fids = NoiseSource(seed, "floor"), [], []
    for split in range(splits):
        order = torch.randperm(len(features), generator=source.generator(split))
        one, other = (features[part].to(device) for part in (order[: len(order) // 2], order[len(order) // 2 :]))
        kids.append(kid(one, other).mmd2)
        fids.append(fid(one, other))
    mean = sum(kids) / splits
    deviation = math.sqrt(sum((value - mean) ** 2 for value in kids) / max(1, splits - 1))
    return Floor(mean, deviation, sum(fids) / splits)
