"""Improved precision and recall of generated images (Kynkaanniemi et al. 2019, Section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.discrepancy.kernels import squared_distances
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.neighbours import blocks, centre_of, nearest


class PrecisionRecall(NamedTuple):
    """Shares between 0 and 1: generated images that look real, and real images that the model reaches."""

    precision: float
    recall: float


def precision_recall(generated: Vectors, real: Vectors, k: int = 3) -> PrecisionRecall:
    """Precision: the share of generated features (N, D) within any real one's (M, D) ball; recall: the reverse.

    A feature's ball reaches, boundary included, to its k-th nearest neighbour in its own set, itself not counted.
    Equal to torch-fidelity's (generated first, real second, as here) but for distances that differ from a radius by
    less than rounding. Blocks of distances are of 2048 x 2048, whatever N and M, on the generated features' device.

    The features make the number: the paper's Table IX has Inception's pool3 by ADM's evaluator, torch-fidelity
    takes VGG16's last hidden layer unless told otherwise, as the method's authors do. It also depends on N and M, which
    should be equal, above k (3 as published) and stated with it: balls shrink as a set grows.
    """
    centre = centre_of(real).to(generated[0:1].device)
    return PrecisionRecall(_share_inside(generated, real, k, centre), _share_inside(real, generated, k, centre))


def _share_inside(queries: Vectors, others: Vectors, k: int, centre: Tensor) -> float:
    radii = nearest(others, others, k, leave_one_out=True, device=centre.device).distances[:, -1].square()
    inside = 0
    for _, rows in blocks(queries, centre):
        found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        for first, columns in blocks(others, centre):
            found |= (squared_distances(rows, columns) <= radii[first : first + len(columns)].to(rows)).any(1)
        inside += int(found.sum())
    return inside / len(queries)
