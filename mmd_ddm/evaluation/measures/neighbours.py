"""Nearest real images of generated ones, and whether they are nearer than new real images are (paper, Section IV-D)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.discrepancy.kernels import squared_distances
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.errors import UserError

ROWS = 2048  # of each side of a block of distances


class Neighbours(NamedTuple):
    """The k nearest real images of each query, nearest first."""

    indices: Tensor  # (N, k), int64
    distances: Tensor  # (N, k), float64, Euclidean, in the units of the features


def nearest(
    queries: Vectors, real: Vectors, k: int = 1, leave_one_out: bool = False, device: torch.device | None = None
) -> Neighbours:
    """Find the k nearest real features (M, D) of each query (N, D), a block of distances at a time.

    Candidates are found in float32 (float64 for float64 features) with the mean taken off; their distances are then
    computed anew in float64, so that those of copies are zero and not what cancellation leaves.

    With `leave_one_out` the queries are the real features themselves, and none is its own neighbour. Computed on a
    device (None: the queries' own). Fewer than k real features raise a UserError.
    """
    if len(real) - leave_one_out < k:
        raise UserError(f"{k} nearest neighbours were asked for, but there are only {len(real) - leave_one_out}")
    centre = centre_of(real).to(queries[0:1].device if device is None else device)
    found = []
    for start, rows in blocks(queries, centre):
        squares = rows.new_full((len(rows), k), torch.inf)
        indices = torch.full((len(rows), k), -1, device=rows.device)
        for first, columns in blocks(real, centre):
            block = squared_distances(rows, columns)
            if leave_one_out and start == first:
                block.fill_diagonal_(torch.inf)
            here = block.topk(min(k, len(columns)), largest=False)
            squares, chosen = torch.cat([squares, here.values], 1).topk(k, largest=False)
            indices = torch.cat([indices, here.indices + first], 1).gather(1, chosen)
        query = queries[start : start + len(rows)].to(centre.device, torch.float64)
        exact = [(real[column.cpu()].to(query) - query).square().sum(1).sqrt() for column in indices.T]
        distances, order = torch.stack(exact, 1).sort(dim=1, stable=True)
        found.append(Neighbours(indices.gather(1, order), distances))
    return Neighbours(*(torch.cat(each) for each in zip(*found, strict=True)))


def centre_of(features: Vectors) -> Tensor:
    """The mean (D,) of the first block, in the precision that distances are computed in."""
    first = features[0:ROWS]
    return first.double().mean(0).to(first.dtype if first.dtype == torch.float64 else torch.float32)


def blocks(features: Vectors, centre: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Features less a centre (D,), in its precision and on its device, in blocks with the first position of each."""
    for start in range(0, len(features), ROWS):
        yield start, features[start : start + ROWS].to(centre) - centre


class NeighbourAUC(NamedTuple):
    """How near generated images come to the real ones that were trained on, against real ones that were not.

    `auc` is the probability that a generated image is nearer to its nearest real image than a held-out real image is to
    its own, ties counted half, with its standard error: 0.5 where the model has not memorised, 1 where it copies.
    Below 0.5 it leaves the real images' neighbourhood. A model whose images are all alike or blurred can be above 0.5
    without a copy: compare with the base model. `median_ratio` is the generated median distance over the held-out one.
    """

    median_ratio: float
    auc: float
    standard_error: float


def neighbour_auc(generated: Tensor, held_out: Tensor) -> NeighbourAUC:
    """Compare two samples of distances to the nearest real image.

    The probability is the Mann-Whitney statistic over N N', its error that of DeLong et al. 1988 (the variances of each
    side's placements in the other). Equal to scipy.stats.mannwhitneyu's statistic to rounding.

    The distances (N,) are of generated images to their nearest real image, those (N',) of held-out real images to
    theirs among the same, N and N' at least 2. Without held-out images, take the leave-one-out distances among the real
    ones: they have M - 1 candidates and not M, which lengthens them by a factor of about 1 + 1 / (M D) for features of
    intrinsic dimension D, and two images that are nearest to each other share their distance, which makes the stated
    error too small by a factor of at most sqrt(2). They also share the data set's near-duplicates, which held-out
    images from elsewhere need not.
    """
    one, other = generated.double(), held_out.double().to(generated.device)
    placements = _share_above(one, other), 1 - _share_above(other, one)
    variance = sum(each.var() / len(each) for each in placements)
    ratio = one.quantile(0.5) / other.quantile(0.5)
    return NeighbourAUC(float(ratio), float(placements[0].mean()), float(torch.as_tensor(variance).sqrt()))


def _share_above(values: Tensor, others: Tensor) -> Tensor:
    """The share of the others that lie above each value, ties counted half."""
    ordered, values = others.sort().values, values.contiguous()
    not_above, below = (torch.searchsorted(ordered, values, right=right) for right in (True, False))
    return 1 - (not_above + below).double() / (2 * len(others))
