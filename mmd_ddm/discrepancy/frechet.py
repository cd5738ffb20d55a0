"""The Frechet distance of a batch to real features, with its gradient (Heusel et al. 2017, Equation 6).

Symbols: N generated features X, real features with mean m_r and covariance S_r = F F^T, F (D, r); m_g is the mean of X,
A = (X - m_g) / sqrt(N-1), so that S_g = A^T A;

    d^2 = |m_g - m_r|^2 + tr(S_g + S_r - 2 (S_r^(1/2) S_g S_r^(1/2))^(1/2)).

The trace of the root is the nuclear norm |A F|_*, the sum of the singular values of A F (N, r). With A F = U s V^T its
gradient on A is U V^T F^T, which needs no inverse of S_g: it is right for fewer images than dimensions too, where S_g
is singular. Centring always makes one singular value zero if N - 1 < r; its direction is the one of equal numbers,
which the gradient on X, centred in turn, has no part in. Where A F is of lower rank than min(N - 1, r), as for images
that coincide, d^2 has no derivative, and the gradient is that of the other singular values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.discrepancy.gaussian import Gaussian, factor


class RealMoments(NamedTuple):
    """What the distance needs of the real features, float64."""

    mean: Tensor  # (D,)
    factor: Tensor  # F (D, r)
    trace: Tensor  # of the covariance, scalar

    @classmethod
    def of(cls, real: Gaussian) -> RealMoments:
        """Factorise the covariance."""
        return cls(real.mean, factor(real.covariance), real.covariance.trace())


def distance_and_gradient(x: Float[Tensor, "N D"], real: RealMoments) -> tuple[Float[Tensor, ""], Float[Tensor, "N D"]]:
    """Return d^2 of N generated features, at least 2, and its gradient on them, computed in float64.

    Biased upwards, by about 1/N for N far above D: for the same reason it is least for features that vary too little.
    Both are NaN where a feature is not finite.
    """
    x = x.double()
    if not bool(x.isfinite().all()):  # which no decomposition takes
        return x.new_tensor(math.nan), torch.full_like(x, math.nan)
    n, mean = len(x), x.mean(0)
    centred, shift = x - mean, mean - real.mean
    left, values, right = torch.linalg.svd(centred @ real.factor / math.sqrt(n - 1), full_matrices=False)
    rounding = max(n, real.factor.shape[1]) * torch.finfo(x.dtype).eps * values[0]
    root = (left * (values > rounding)) @ right @ real.factor.T
    distance = shift.square().sum() + centred.square().sum() / (n - 1) + real.trace - 2 * values.sum()
    gradient = 2 / n * shift + 2 / (n - 1) * centred - 2 / math.sqrt(n - 1) * (root - root.mean(0))
    return distance, gradient
