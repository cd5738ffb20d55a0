"""The unbiased estimator of the squared maximum mean discrepancy, and its standard error.

Setting: N generated features x_i ~ P, M real features y_j ~ Q, a kernel k;
MMD^2 = E k(x, x') - 2 E k(x, y) + E k(y, y') (Gretton et al. 2012, Lemma 6).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.discrepancy.kernels import Kernel
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.precision import whole_products

BLOCK_ROWS = 128  # so that a batch of 8192 takes no more memory than one of 128, and products of matrices stay fast
BLOCK_ELEMENTS = 1 << 24  # of a block of the kernel's matrix: at most 64 MiB in float32
PIECE_ELEMENTS = 1 << 26  # of the real features that are brought from disk or to full precision at a time
SQUARE = 1024  # side of the blocks where no gradient is needed


class MMD(NamedTuple):
    """An estimate of MMD^2 (`mmd2`, may be negative) and the standard error of that estimate."""

    mmd2: float
    standard_error: float


class Moments(NamedTuple):
    """Sums over a kernel matrix, its diagonal left out where rows and columns are the same features; float64."""

    rows: Tensor  # (N,) sums of each row
    columns: Tensor  # (M,)
    squares: Tensor  # scalar, the sum of squared entries


def pieces(y: Vectors, like: Tensor, most: int) -> Iterator[tuple[int, Tensor]]:
    """Pieces of y (M, D), of some rows at most, with their first positions, in `like`'s precision and on its device."""
    step = max(1, min(most, PIECE_ELEMENTS // max(1, like.shape[1])))
    for start in range(0, len(y), step):
        yield start, y[start : start + step].to(like)


def within_mean(x: Float[Tensor, "N D"], kernel: Kernel) -> Float[Tensor, ""]:
    """The mean of k(x_i, x_j) over i != j, float64; N at least 2."""
    return within_moments(x, kernel, x).rows.sum() / (len(x) * (len(x) - 1))


def mmd2(x: Float[Tensor, "N D"], y: Float[Tensor, "M D"], kernel: Kernel) -> Float[Tensor, ""]:
    """The unbiased U-statistic (paper, Equation 7, for unequal sizes; Gretton et al. 2012, Equation 3).

    1/(N(N-1)) sum_{i != j} k(x_i, x_j) - 2/(NM) sum_ij k(x_i, y_j) + 1/(M(M-1)) sum_{i != j} k(y_i, y_j)

    N generated and M real features, at least 2 of each; float64, may be negative, is not clamped. Differentiable.
    """
    cross = cross_moments(x, y, kernel).rows.sum() / (len(x) * len(y))
    return within_mean(x, kernel) - 2 * cross + within_mean(y, kernel)


@whole_products()
def sum_and_gradient(
    x: Float[Tensor, "N D"], y: Vectors, kernel: Kernel, skip: int | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, "N D"]]:
    """The sum of k(x_i, y_j), float64, and its gradient with respect to x in x's dtype, one block alive at a time.

    y (M, D) may have any precision and is treated as constant. With `skip` the pairs j = i + skip are left out, where x
    is rows skip, skip + 1 ... of y.
    """
    total, gradient = x.new_zeros((), dtype=torch.float64), torch.zeros_like(x)
    height = min(BLOCK_ROWS, len(x))
    for first, piece in pieces(y, x, BLOCK_ELEMENTS // max(1, height)):
        for start in range(0, len(x), BLOCK_ROWS):
            where = slice(start, min(start + BLOCK_ROWS, len(x)))
            with torch.enable_grad():
                leaf = x[where].detach().requires_grad_()
                block = kernel(leaf, piece)
                if skip is not None:
                    block = _hollow(block, start + skip - first)
                part = block.sum(dtype=torch.float64)
            gradient[where] += torch.autograd.grad(part, leaf)[0]
            total += part.detach()
    return total, gradient


def mmd2_with_error(x: Float[Tensor, "N D"], y: Vectors, kernel: Kernel, within_y: Moments | None = None) -> MMD:
    """The unbiased U-statistic with its standard error over fresh samples of both sizes.

    The Hoeffding decomposition of the statistic has variance (Serfling 1980, Section 5.2; for one sample size
    Sutherland & Deka 2019)

        4 z_x / N + 4 z_y / M + 2 z_xx / (N(N-1)) + 2 z_yy / (M(M-1)) + 4 z_xy / (NM),

    z_x the variance of E[k(x, x') - k(x, y) | x], z_xx that of the part of k(x, x') that no function of x alone and x'
    alone explains, and so on. All five come from the sums of rows and of squares; the noise of the row means is taken
    out of z_x and z_y. The first two terms vanish where P = Q and dominate where P and Q are far apart.

    N generated and M real features (M, D), at least 4 of each; `within_y` is `within_moments` of y where that is known
    already: the bulk of the work if M is large.
    """
    n, m = len(x), len(y)
    xx, xy = within_moments(x, kernel, x), cross_moments(x, y, kernel)
    yy = within_y if within_y is not None else within_moments(y, kernel, x)
    value = xx.rows.sum() / (n * (n - 1)) + yy.rows.sum() / (m * (m - 1)) - 2 * xy.rows.sum() / (n * m)
    z_xx, z_yy, z_xy = _within_residual(xx), _within_residual(yy), _cross_residual(xy)
    z_x = (xx.rows / (n - 1) - xy.rows / m).var() - z_xx / (n - 1) - z_xy / m
    z_y = (yy.rows / (m - 1) - xy.columns / n).var() - z_yy / (m - 1) - z_xy / n
    first = 4 * z_x / n + 4 * z_y / m
    second = 2 * z_xx / (n * (n - 1)) + 2 * z_yy / (m * (m - 1)) + 4 * z_xy / (n * m)
    # unbiased without a clamp on each part, which would overstate the error where P = Q; the floor is a safeguard
    variance = (first + second).clamp(min=second / 4)
    return MMD(float(value), math.sqrt(float(variance)))


@whole_products()
def cross_moments(x: Float[Tensor, "N D"], y: Vectors, kernel: Kernel) -> Moments:
    """Sums over the matrix k(x_i, y_j) of x (N, D) and y (M, D)."""
    squares = x.new_zeros((), dtype=torch.float64)
    rows, columns = x.new_zeros(len(x), dtype=torch.float64), []
    for _, piece in pieces(y, x, SQUARE):
        parts = []
        for start in range(0, len(x), SQUARE):
            block = kernel(x[start : start + SQUARE], piece).double()
            parts.append(block.sum(1))
            columns.append(block.sum(0)) if start == 0 else columns.append(columns.pop() + block.sum(0))
            squares = squares + block.square().sum()
        rows = rows + torch.cat(parts)
    return Moments(rows, torch.cat(columns), squares)


@whole_products()
def within_moments(x: Vectors, kernel: Kernel, like: Tensor, first_rows: range | None = None) -> Moments:
    """Sums over the matrix k(x_i, x_j) of x (N, D) without its diagonal, in the precision and on the device of `like`.

    k is symmetric, so half of the blocks are computed; with `first_rows` only those whose first row is in this range of
    block numbers, 0 ... ceil(N / 1024) - 1. The sums over all blocks are those of the whole matrix.
    """
    sums = like.new_zeros(len(x), dtype=torch.float64)
    squares = like.new_zeros((), dtype=torch.float64)
    for number in first_rows if first_rows is not None else range(block_count(x)):
        start = number * SQUARE
        mine = x[start : start + SQUARE].to(like)
        for other in range(start, len(x), SQUARE):
            block = kernel(mine, mine if other == start else x[other : other + SQUARE].to(like))
            block = (_hollow(block, 0) if other == start else block).double()
            twice = 1 if other == start else 2
            sums[start : start + len(mine)] += block.sum(1)
            if twice == 2:
                sums[other : other + block.shape[1]] += block.sum(0)
            squares = squares + twice * block.square().sum()
    return Moments(sums, sums, squares)


def block_count(x: Vectors) -> int:
    """How many rows of blocks `within_moments` has."""
    return -(-len(x) // SQUARE)


def _hollow(block: Tensor, offset: int) -> Tensor:
    """The block with zeros where column = row + offset."""
    mask = torch.ones_like(block, dtype=torch.bool)
    if -len(block) < offset < block.shape[1]:
        mask.diagonal(offset).fill_(False)
    return torch.where(mask, block, 0)


def _within_residual(moments: Moments) -> Tensor:
    """The variance of k(x, x') around its best additive fit a(x) + a(x'), from a symmetric matrix without diagonal."""
    n = len(moments.rows)
    means = moments.rows / (n - 1)
    total = means.mean()
    # least squares: the fit's effects are a_i = (n-1)/(n-2) (mean_i - total), which explain (n-1)(n-2) a_i^2 in all
    effects = (n - 1) / (n - 2) * (means - total)
    explained = 2 * (n - 2) * effects.square().sum()
    left = moments.squares - n * (n - 1) * total**2 - explained
    return (left / (n * (n - 3))).clamp(min=0)


def _cross_residual(moments: Moments) -> Tensor:
    """The variance of k(x, y) around its best additive fit a(x) + b(y)."""
    n, m = len(moments.rows), len(moments.columns)
    row_means, column_means = moments.rows / m, moments.columns / n
    total = row_means.mean()
    explained = m * (row_means - total).square().sum() + n * (column_means - total).square().sum()
    left = moments.squares - n * m * total**2 - explained
    return (left / ((n - 1) * (m - 1))).clamp(min=0)
