"""KID of many images: all pairs where that is cheap, pairs within disjoint random blocks for the rest.

With c any vector, x = c + u, y = c + v, G = u.v / d and s = A(x) + A(y), A(x) = (1 + |c|^2 / d) / 2 + c.u / d, the
cubic kernel is

    (x.y / d + 1)^3 = (s + G)^3 = [s^3 + 3 s^2 G] + [G^2 (3 s + G)].

The first bracket is a polynomial of degree one in each of u and v, given A: its sum over all pairs follows from a few
sums over images, in time N D. The second is the small one where c is about the mean of the features, and is summed over
pairs in blocks only: an incomplete U-statistic (Blom 1976). As the blocks are random the estimate has the expectation
of the full statistic; as they hold every image once, the first-order terms of its Hoeffding decomposition are those of
the full one, and of the second-order terms only those of the second bracket grow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.mmd import MMD, SQUARE, Moments
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.block_statistics import (
    cross_residual,
    pooled_variance,
    sizes,
    split,
    spread,
    within_residual,
)

PAIRS = 25 * 10**6  # of each of the three sums, within blocks; 100 subsets of 1000 have four times as many
SMALLEST_BLOCK = 4
PIECE = 2048  # rows at a time in the sums over images


class Whole(NamedTuple):
    """Sums over one side's images from which the first bracket follows, float64."""

    powers: Tensor  # (4,): of A^0 ... A^3
    vectors: Tensor  # (3, D): of A^0 u, A u, A^2 u
    diagonal: Tensor  # scalar: of the first bracket at x = y


class Part(NamedTuple):
    """Sums within blocks of the kernel and of its second bracket."""

    kernel: Moments
    rest: Moments


def kid_in_blocks(generated: Tensor, real: Vectors) -> MMD:
    """Estimate KID in time that grows with N + M, where the full statistic's grows with (N + M)^2.

    Each of the three sums (generated-generated, real-real, generated-real) has its own number of blocks, a power of
    two, the smallest with at most 2.5e7 pairs. They are drawn with a fixed seed and depend on N and M alone. Kernel
    values in blocks and their sums over at most 1024 images are float32, all else float64: with c taken out, that moves
    KID by less than a hundredth of its standard error, which is over fresh images and blocks. Features are (N, D) and
    (M, D), N and M at least 4.

    With P_xx ordered pairs in blocks, r the second bracket and z as in `discrepancy.mmd.mmd2_with_error`, the variance
    that the pairs of generated images add is 2 z_xx / (N(N-1)) + 2 z_xx(r) (1 / P_xx - 1 / (N(N-1))), and likewise for
    the other two sums. Every z is estimated within blocks, where nothing but the row itself varies, and pooled.
    """
    n, m, device = len(generated), len(real), generated.device
    x, y = _order(n, 0), _order(m, 1)
    centre = real[y[:PIECE]].to(device, torch.float32).mean(0).double()
    whole_x, whole_y = _whole(generated, centre), _whole(real, centre)
    own_x, cross_x = _first_rows(generated, centre, whole_x, whole_y)
    own_y, cross_y = _first_rows(real, centre, whole_y, whole_x)
    b_xx, b_yy, b_xy = block_count(n, n), block_count(m, m), block_count(n, m)
    xx, yy = _in_blocks([(generated, x)], b_xx, centre), _in_blocks([(real, y)], b_yy, centre)
    xy = _in_blocks([(generated, x), (real, y)], b_xy, centre)
    x, y = x.to(device), y.to(device)
    all_xx, all_yy, all_xy = n * (n - 1), m * (m - 1), n * m
    n_xx, m_yy, n_xy, m_xy = sizes(x, b_xx), sizes(y, b_yy), sizes(x, b_xy), sizes(y, b_xy)
    p_xx, p_yy, p_xy = (n_xx * (n_xx - 1)).sum(), (m_yy * (m_yy - 1)).sum(), (n_xy * m_xy).sum()
    value = (
        (_first_bracket(whole_x, whole_x) - whole_x.diagonal) / all_xx
        + (_first_bracket(whole_y, whole_y) - whole_y.diagonal) / all_yy
        - 2 * _first_bracket(whole_x, whole_y) / all_xy
        + xx.rest.rows.sum() / p_xx
        + yy.rest.rows.sum() / p_yy
        - 2 * xy.rest.rows.sum() / p_xy
    )
    z_xx, rest_xx = (within_residual(sums, x, b_xx) for sums in xx)
    z_yy, rest_yy = (within_residual(sums, y, b_yy) for sums in yy)
    z_xy, rest_xy = (cross_residual(sums, x, y, b_xy) for sums in xy)
    # what an image adds to the mean over its partners, all of them or those in its block; one less in the divisor than
    # there are partners of its own kind, as the mean of the block, itself included, is about to be taken off
    x_effect = own_x[x] / (n - 2) - cross_x[x] / m
    x_effect += xx.rest.rows[x] / spread(n_xx - 2, n_xx) - xy.rest.rows[x] / spread(m_xy, n_xy)
    y_effect = own_y[y] / (m - 2) - cross_y[y] / n
    y_effect += yy.rest.rows[y] / spread(m_yy - 2, m_yy) - xy.rest.columns[y] / spread(n_xy, m_xy)
    noise_x = (z_xx - rest_xx) / (n - 2) + rest_xx / (n_xx.mean() - 2) + (z_xy - rest_xy) / m + rest_xy / m_xy.mean()
    noise_y = (z_yy - rest_yy) / (m - 2) + rest_yy / (m_yy.mean() - 2) + (z_xy - rest_xy) / n + rest_xy / n_xy.mean()
    z_x = pooled_variance(x_effect, max(b_xx, b_xy)) - noise_x
    z_y = pooled_variance(y_effect, max(b_yy, b_xy)) - noise_y
    second = 2 * z_xx / all_xx + 2 * z_yy / all_yy + 4 * z_xy / all_xy
    second += 2 * rest_xx * (1 / p_xx - 1 / all_xx) + 2 * rest_yy * (1 / p_yy - 1 / all_yy)
    second += 4 * rest_xy * (1 / p_xy - 1 / all_xy)
    variance = (4 * z_x / n + 4 * z_y / m + second).clamp(min=second / 4)
    return MMD(float(value), math.sqrt(float(variance)))


def block_count(rows: int, columns: int) -> int:
    """The smallest power of two that leaves at most `PAIRS` pairs within blocks."""
    blocks = 1
    while rows * columns > blocks * PAIRS and min(rows, columns) >= 2 * blocks * SMALLEST_BLOCK:
        blocks *= 2
    return blocks


def _order(count: int, side: int) -> Tensor:
    return torch.randperm(count, generator=NoiseSource(0, "kid").generator(side))


def _pieces(features: Vectors, centre: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows u (n, D) in float32 with A^0 ... A^3 (n, 4) and |u|^2 (n,) in float64."""
    for start in range(0, len(features), PIECE):
        shifted = _shifted(features, slice(start, start + PIECE), centre)
        a = torch.vander(_offsets(shifted, centre), 4, increasing=True)
        yield shifted, a, torch.linalg.vector_norm(shifted, dim=1).square().double()


def _whole(features: Vectors, centre: Tensor) -> Whole:
    d = len(centre)
    powers, vectors, diagonal = centre.new_zeros(4), centre.new_zeros(3, d), centre.new_zeros(())
    for shifted, a, squares in _pieces(features, centre):
        powers += a.sum(0)
        vectors += a[:, :3].to(shifted).T @ shifted
        diagonal += 8 * a[:, 3].sum() + 12 * (a[:, 2] @ squares) / d
    return Whole(powers, vectors, diagonal)


def _shifted(features: Vectors, where: slice | Tensor, centre: Tensor) -> Tensor:
    """Rows u (n, D) in float32."""
    return features[where].to(centre.device, torch.float32) - centre.float()


def _offsets(shifted: Tensor, centre: Tensor) -> Tensor:
    """A (n,) of rows u (n, D), in float64."""
    d = len(centre)
    return 0.5 + centre.square().sum() / (2 * d) + (shifted @ centre.to(shifted)).double() / d


def _first_bracket(x: Whole, y: Whole) -> Tensor:
    """The sum of s^3 + 3 s^2 G over all pairs."""
    binomial = x.powers.new_tensor([1, 3, 3, 1])
    cubes = (binomial * x.powers * y.powers.flip(0)).sum()
    products = (x.vectors * y.vectors.flip(0)).sum(1) * x.powers.new_tensor([1, 2, 1])
    return cubes + 3 * products.sum() / x.vectors.shape[1]


def _first_rows(features: Vectors, centre: Tensor, mine: Whole, other: Whole) -> tuple[Tensor, Tensor]:
    """The first bracket's sum over all other images of the same side, and over all of the other side, (N,) each."""
    d, own, cross = len(centre), [], []
    weights = 3 / d * torch.cat([side.vectors * centre.new_tensor([[1], [2], [1]]) for side in (mine, other)])
    binomial = centre.new_tensor([1, 3, 3, 1])
    for shifted, a, squares in _pieces(features, centre):
        products = (shifted @ weights.to(shifted).T).double()
        sums = [a @ (binomial * side.powers).flip(0) for side in (mine, other)]
        sums = [each + (a[:, :3].flip(1) * products[:, 3 * k : 3 * k + 3]).sum(1) for k, each in enumerate(sums)]
        own.append(sums[0] - 8 * a[:, 3] - 12 * a[:, 2] * squares / d)
        cross.append(sums[1])
    return torch.cat(own), torch.cat(cross)


def _in_blocks(sides: Sequence[tuple[Vectors, Tensor]], blocks: int, centre: Tensor) -> Part:
    """Sums over pairs within blocks, a tile at a time: of one side, without its diagonal, or between two sides.

    A side is its features and their order; of one side half of the tiles are computed, as the kernel is symmetric.
    """
    (x, order_x), (y, order_y), within, new = sides[0], sides[-1], len(sides) == 1, centre.new_zeros
    part = Part(*(Moments(each, each if within else new(len(y)), new(())) for each in new(2, len(x))))
    level = (1 + centre.square().mean()) ** 3  # taken off the kernel, whose variances alone are used
    for mine, theirs in zip(split(order_x, blocks), split(order_y, blocks), strict=True):
        u = _shifted(x, mine, centre)
        v = u if within else _shifted(y, theirs, centre)
        a, b, scaled = _offsets(u, centre).float(), _offsets(v, centre).float(), u / len(centre)
        mine, theirs = mine.to(centre.device), theirs.to(centre.device)
        for i, j in product(range(0, len(u), SQUARE), range(0, len(v), SQUARE)):
            if within and j < i:
                continue
            rows, columns, diagonal = slice(i, i + SQUARE), slice(j, j + SQUARE), within and i == j
            products, offsets = scaled[rows] @ v[columns].T, a[rows, None] + b[columns]
            rest = products.square() * (3 * offsets + products)
            kernel = products.add_(offsets) ** 3 - level.float()
            for moments, values in zip(part, (kernel, rest), strict=True):
                if diagonal:
                    values.fill_diagonal_(0)
                moments.rows[mine[rows]] += values.sum(1).double()
                if not diagonal:
                    moments.columns[theirs[columns]] += values.sum(0).double()
                squares = torch.linalg.vector_norm(values, dim=1).double().square().sum()
                moments.squares.add_(squares, alpha=2 if within and not diagonal else 1)
    return part
