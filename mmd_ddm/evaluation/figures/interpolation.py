"""Spherical interpolation between starting noises (paper, Equation 8; Shoemake 1985)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmd_ddm.errors import UserError


def slerp(a: Tensor, b: Tensor, fractions: Sequence[float] | Tensor) -> Tensor:
    """sin((1 - f) t) / sin(t) a + sin(f t) / sin(t) b, t the angle between a and b, for each pair and fraction.

    The angle is taken from the lengths of the sum and the difference of the unit vectors (Kahan 2006), which is exact
    to rounding at any angle where the arc cosine loses half its digits for nearly parallel vectors; the ratios of sines
    go over into 1 - f and f there. Fractions 0 and 1 give a and b to the bit; if a and b have one norm, so have all.

    a and b are (N, ...), everything but the first dimension one vector; the F fractions are usually between 0 and 1;
    the result is (N, F, ...) in a's precision. A vector of zeros raises a UserError, and so does a pair of opposite
    ones, between which no shortest arc is the only one.
    """
    one, other = a.double().flatten(1), b.double().flatten(1)
    lengths = one.norm(dim=1, keepdim=True), other.norm(dim=1, keepdim=True)
    if bool((torch.cat(lengths) == 0).any()):
        raise UserError("a vector of zeros has no direction to interpolate from; draw the noise with another seed")
    units = one / lengths[0], other / lengths[1]
    sums, differences = (units[0] + units[1]).norm(dim=1), (units[0] - units[1]).norm(dim=1)
    if bool((sums < 1e-12).any()):
        raise UserError("two opposite vectors have no shortest arc between them; draw the noise with another seed")
    angle = 2 * torch.atan2(differences, sums)[:, None]  # (N, 1)
    f = torch.as_tensor(fractions, dtype=torch.float64, device=a.device)[None]
    points = _weight(1 - f, angle)[:, :, None] * one[:, None] + _weight(f, angle)[:, :, None] * other[:, None]
    return points.to(a.dtype).reshape(*points.shape[:2], *a.shape[1:])


def _weight(fraction: Tensor, angle: Tensor) -> Tensor:
    """sin(f t) / sin(t), (N, F); f where t is 0."""
    return fraction * torch.sinc(fraction * angle / torch.pi) / torch.sinc(angle / torch.pi)
