"""Sums of images and predictions, as a solver's table holds them: coefficients by what they are of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

IMAGE, BASE, NOW = 0, 1, 2  # what a coefficient is of; NOW + i is the prediction i evaluations before this one
EPSILON: Literal["epsilon"] = "epsilon"
SAMPLE: Literal["sample"] = "sample"
ONE = torch.ones((), dtype=torch.float64)
Predicted = Literal["epsilon", "sample"]
Terms = Mapping[int, Tensor]  # float64 scalars by what they are of; what is left out is zero


class Row(NamedTuple):
    """What one network evaluation brings: the next image and the next base as sums of what has been seen.

    Args:
        level: which of the chain's noise levels the image is evaluated at.
        image: coefficients of the next image.
        base: of the image that later steps start from in place of the current one; none where there is no such.
    """

    level: int
    image: Terms
    base: Terms = MappingProxyType({})


def scaled(factor: Tensor, terms: Terms) -> Terms:
    """Return coefficients, each times a factor."""
    return {i: factor * coefficient for i, coefficient in terms.items()}


def added(*many: Terms) -> Terms:
    """Return the sums of coefficients."""
    keys = sorted({i for terms in many for i in terms})
    return {i: torch.stack([terms[i] for terms in many if i in terms]).sum() for i in keys}
