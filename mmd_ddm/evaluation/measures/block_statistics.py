"""Statistics of values that stand in blocks: sizes, pooled variances, and what no additive fit explains.

Values are in the order of their blocks; sizes of blocks differ by at most one; all is float64.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from mmd_ddm.discrepancy.mmd import Moments


def split(order: Tensor, blocks: int) -> list[Tensor]:
    """Consecutive blocks of positions; those of a power of two are unions of those of any larger one."""
    bounds = [len(order) * block // blocks for block in range(blocks + 1)]
    return [order[start:stop] for start, stop in pairwise(bounds)]


def sizes(order: Tensor, blocks: int) -> Tensor:
    """How many positions each block has, (B,)."""
    return torch.tensor([len(part) for part in split(order, blocks)], dtype=torch.float64, device=order.device)


def spread(values: Tensor, lengths: Tensor) -> Tensor:
    """A value a block (B,), repeated for each position of the block."""
    return values.repeat_interleave(lengths.long())


def centred(values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of each block (B,), and the values less it."""
    block = spread(torch.arange(len(lengths), device=values.device), lengths)
    means = torch.zeros_like(lengths).index_add_(0, block, values) / lengths
    return means, values - means[block]


def pooled_variance(values: Tensor, blocks: int) -> Tensor:
    """The variance of values within their blocks."""
    _, differences = centred(values, sizes(values, blocks))
    return differences.square().sum() / (len(values) - blocks)


def within_residual(moments: Moments, order: Tensor, blocks: int) -> Tensor:
    """The variance of k(x, x') around the best additive fit a(x) + a(x') of each block.

    As for one block in `discrepancy.mmd`: the fit's effects are (n-1)/(n-2) (mean_i - mean), which explain
    2 (n-2) effect_i^2 of the sum of squares, and n(n-3) degrees of freedom are left. Row sums (N,) are by position,
    each over the others of its block; the sum of squares is that of all blocks.
    """
    n = sizes(order, blocks)
    each = spread(n, n)
    means, effects = centred(moments.rows[order] / (each - 1), n)
    explained = (2 * (each - 1) ** 2 / (each - 2) * effects.square()).sum()
    left = moments.squares - (n * (n - 1) * means.square()).sum() - explained
    return (left / (n * (n - 3)).sum()).clamp(min=0)


def cross_residual(moments: Moments, order_x: Tensor, order_y: Tensor, blocks: int) -> Tensor:
    """The variance of k(x, y) around the best additive fit a(x) + b(y) of each block; arguments as above."""
    n, m = sizes(order_x, blocks), sizes(order_y, blocks)
    means, rows = centred(moments.rows[order_x] / spread(m, n), n)
    _, columns = centred(moments.columns[order_y] / spread(n, m), m)
    explained = (spread(m, n) * rows.square()).sum() + (spread(n, m) * columns.square()).sum()
    left = moments.squares - (n * m * means.square()).sum() - explained
    return (left / ((n - 1) * (m - 1)).sum()).clamp(min=0)
