"""The unbiased estimator of the squared maximum mean discrepancy, and its standard error.

Setting: N generated features x_i ~ P, M real features y_j ~ Q, a kernel k;
MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y') (Gretton et al. 2012, Lemma 6).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.discrepancy.kernels import Kernel

BLOCK_ROWS = 128  # so that a batch of 8192 takes no more memory than one of 128, and products of matrices stay fast
BLOCK_ELEMENTS = 1 << 24  # at most 64 MiB in float32, whatever the number of columns


class MMD(NamedTuple):
    """An estimate of MMD^2 (`mmd2`, may be negative) and the standard error of that estimate."""

    mmd2: float
    standard_error: float


class _Moments(NamedTuple):
    """Sums over a kernel matrix, its diagonal left out where rows and columns are the same features."""

    rows: Tensor  # (N,) sums of each row
    columns: Tensor  # (M,)
    squares: Tensor  # scalar, the sum of squared entries


def blocks(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows of x in pieces whose kernel block against y stays small."""
    size = max(1, min(BLOCK_ROWS, BLOCK_ELEMENTS // max(1, len(y))))
    for start in range(0, len(x), size):
        yield slice(start, min(start + size, len(x))), x[start : start + size]


def within_mean(x: Tensor, kernel: Kernel) -> Tensor:
    """The mean of k(x_i, x_j) over i != j, a float64 scalar; x (N, D), N at least 2."""
    return _moments(x, x, kernel, skip_diagonal=True).rows.sum() / (len(x) * (len(x) - 1))


def mmd2(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    """The unbiased U-statistic (paper, Equation 7, for unequal sizes; Gretton et al. 2012, Equation 3).

    1/(N(N-1)) sum_{i != j} k(x_i, x_j) - 2/(NM) sum_ij k(x_i, y_j) + 1/(M(M-1)) sum_{i != j} k(y_i, y_j)

    Args:
        x: (N, D) generated features, N at least 2.
        y: (M, D) real features, M at least 2.
        kernel: any kernel.

    Returns:
        A float64 scalar; may be negative, is not clamped. Differentiable.
    """
    cross = _moments(x, y, kernel).rows.sum() / (len(x) * len(y))
    return within_mean(x, kernel) - 2 * cross + within_mean(y, kernel)


def sum_and_gradient(x: Tensor, y: Tensor, kernel: Kernel, skip: int | None = None) -> tuple[Tensor, Tensor]:
    """The sum of k(x_i, y_j) and its gradient with respect to x, one block alive at a time.

    Args:
        x: (N, D).
        y: (M, D), treated as constant.
        kernel: any kernel.
        skip: leave out the pairs j = i + skip, where x is rows skip, skip + 1 ... of y.

    Returns:
        The sum, a float64 scalar, and the gradient (N, D) in x's dtype.
    """
    total, gradient = x.new_zeros((), dtype=torch.float64), torch.empty_like(x)
    for where, piece in blocks(x, y):
        with torch.enable_grad():
            leaf = piece.detach().requires_grad_()
            block = kernel(leaf, y)
            if skip is not None:
                block = _hollow(block, slice(where.start + skip, where.stop + skip))
            part = block.sum(dtype=torch.float64)
        (gradient[where],) = torch.autograd.grad(part, leaf)
        total += part.detach()
    return total, gradient


def mmd2_with_error(x: Tensor, y: Tensor, kernel: Kernel) -> MMD:
    """The unbiased U-statistic with its standard error over fresh samples of both sizes.

    The Hoeffding decomposition of the statistic has variance (Serfling 1980, Section 5.2; for one sample size
    Sutherland & Deka 2019)

        4 z_x / N + 4 z_y / M + 2 z_xx / (N(N-1)) + 2 z_yy / (M(M-1)) + 4 z_xy / (NM),

    z_x the variance of E[k(x, x') - k(x, y) | x], z_xx that of the part of k(x, x') that no function of x alone and x'
    alone explains, and so on. All five come from the sums of rows and of squares; the noise of the row means is taken
    out of z_x and z_y. The first two terms vanish where P = Q and dominate where P and Q are far apart.

    Args:
        x: (N, D) generated features, N at least 4.
        y: (M, D) real features, M at least 4.
        kernel: any kernel.
    """
    n, m = len(x), len(y)
    xx, yy = _moments(x, x, kernel, skip_diagonal=True), _moments(y, y, kernel, skip_diagonal=True)
    xy = _moments(x, y, kernel)
    value = xx.rows.sum() / (n * (n - 1)) + yy.rows.sum() / (m * (m - 1)) - 2 * xy.rows.sum() / (n * m)
    z_xx, z_yy, z_xy = _within_residual(xx), _within_residual(yy), _cross_residual(xy)
    z_x = (xx.rows / (n - 1) - xy.rows / m).var() - z_xx / (n - 1) - z_xy / m
    z_y = (yy.rows / (m - 1) - xy.columns / n).var() - z_yy / (m - 1) - z_xy / n
    first = 4 * z_x / n + 4 * z_y / m
    second = 2 * z_xx / (n * (n - 1)) + 2 * z_yy / (m * (m - 1)) + 4 * z_xy / (n * m)
    # unbiased without a clamp on each part, which would overstate the error where P = Q; the floor is a safeguard
    variance = (first + second).clamp(min=second / 4)
    return MMD(float(value), math.sqrt(float(variance)))


def _moments(x: Tensor, y: Tensor, kernel: Kernel, skip_diagonal: bool = False) -> _Moments:
    rows, columns, squares = (
        [],
        x.new_zeros(len(y), dtype=torch.float64),
        x.new_zeros((), dtype=torch.float64),
    )
    for where, piece in blocks(x, y):
        block = kernel(piece, y)
        if skip_diagonal:
            block = _hollow(block, where)
        block = block.double()
        rows.append(block.sum(1))
        columns = columns + block.sum(0)
        squares = squares + block.square().sum()
    return _Moments(torch.cat(rows), columns, squares)


def _hollow(block: Tensor, where: slice) -> Tensor:
    mask = torch.ones_like(block, dtype=torch.bool)
    mask[:, where].fill_diagonal_(False)
    return torch.where(mask, block, 0)


def _within_residual(moments: _Moments) -> Tensor:
    """The variance of k(x, x') around its best additive fit a(x) + a(x'), from a symmetric matrix without diagonal."""
    n = len(moments.rows)
    means = moments.rows / (n - 1)
    total = means.mean()
    # least squares: the fit's effects are a_i = (n-1)/(n-2) (mean_i - total), which explain (n-1)(n-2) a_i^2 in all
    effects = (n - 1) / (n - 2) * (means - total)
    explained = 2 * (n - 2) * effects.square().sum()
    left = moments.squares - n * (n - 1) * total**2 - explained
    return (left / (n * (n - 3))).clamp(min=0)


def _cross_residual(moments: _Moments) -> Tensor:
    """The variance of k(x, y) around its best additive fit a(x) + b(y)."""
    n, m = len(moments.rows), len(moments.columns)
    row_means, column_means = moments.rows / m, moments.columns / n
    total = row_means.mean()
    explained = m * (row_means - total).square().sum() + n * (column_means - total).square().sum()
    left = moments.squares - n * m * total**2 - explained
    return (left / ((n - 1) * (m - 1))).clamp(min=0)
