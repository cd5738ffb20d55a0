"""Frechet Inception Distance (Heusel et al. 2017, Equation 6) in any feature space."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: Tensor
    covariance: Tensor


def fit(features: Tensor) -> Gaussian:
    """Mean and unbiased covariance of features (N, D), N at least 2, in float64."""
    features = features.double()
    return Gaussian(features.mean(0), torch.cov(features.T).reshape(features.shape[1], features.shape[1]))


def frechet_distance(generated: Gaussian, real: Gaussian) -> float:
    """|m_g - m_r|^2 + tr(S_g + S_r - 2 (S_g S_r)^(1/2)).

    With A = S_g^(1/2), the trace of the last root is that of (A S_r A)^(1/2), whose argument is symmetric: two
    symmetric eigenproblems, stable for singular covariances.
    """
    values, vectors = torch.linalg.eigh(generated.covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ real.covariance @ root).clamp(min=0).sqrt().sum()
    spread = generated.covariance.trace() + real.covariance.trace() - 2 * cross
    return float((generated.mean - real.mean).square().sum() + spread)


def fid(generated: Tensor, real: Tensor) -> float:
    """FID of features (N, D) and (M, D); biased upwards by about 1/N, so state N with it."""
    return frechet_distance(fit(generated), fit(real))
