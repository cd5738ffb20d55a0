"""Distances between feature vectors as a kernel needs them: exact to rounding where vectors almost coincide.

By the inner product |x-y|^2 = |x|^2 + |y|^2 - 2 x.y is as fast as a product of matrices, but loses as many digits as
the norms are larger than the distance; a square root doubles that loss, and its gradient (x-y)/|x-y| would be of any
length. So the few pairs that lose digits are computed once more from their differences.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

_NEAR = 1e-2  # of the squared norms: below it the inner product keeps fewer than 5 of float32's 7 digits
_PAIR_ELEMENTS = 1 << 22  # of the differences that are there at a time


def distances(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
    """|x_i - y_j|, differentiable once; pairs that coincide have the gradient zero, the mean of all directions."""
    found: Tensor = _Distances.apply(x, y)
    return found


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, y: Tensor) -> Tensor:
        a, b = _centred(x, y)
        norms = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
        squares = torch.addmm(norms, a, b.T, alpha=-2)
        near = squares < _NEAR * norms
        for i, j in _pairs(near, x.shape[1]):
            squares[i, j] = (x[i] - y[j]).square().sum(1)
        ctx.save_for_backward(x, y, found := squares.sqrt_(), near)
        return found

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y, found, near = ctx.saved_tensors  # type: ignore[attr-defined]
        wanted: tuple[bool, bool] = ctx.needs_input_grad  # type: ignore[attr-defined]
        a, b = _centred(x, y)
        # sum_j w_ij (x_i - y_j) with w = gradient / distance, the far pairs by a product of matrices
        weights = torch.where(found > 0, gradient / found, 0)
        far = weights.masked_fill(near, 0)
        of_x = a * far.sum(1, keepdim=True) - far @ b if wanted[0] else None
        of_y = b * far.sum(0)[:, None] - far.T @ a if wanted[1] else None
        for i, j in _pairs(near, x.shape[1]):
            pull = (x[i] - y[j]) * weights[i, j][:, None]
            if of_x is not None:
                of_x.index_add_(0, i, pull)
            if of_y is not None:
                of_y.index_add_(0, j, pull, alpha=-1)
        return of_x, of_y


def _centred(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both from one origin, so that the norms are those of the spread, wherever the features lie."""
    origin = y.mean(0)
    return x - origin, y - origin


def _pairs(chosen: Tensor, dimension: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows and columns of what is chosen, as many at a time as their differences may take."""
    for piece in chosen.nonzero().split(max(1, _PAIR_ELEMENTS // dimension)):
        yield piece[:, 0], piece[:, 1]
