"""The deterministic sampler of Karras et al. 2022: their noise levels, and Euler's and Heun's steps in sigma."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]


def karras(count: int, low: float = 0.002, high: float = 80.0) -> Tensor:
    """Equation 5 of Karras et al. 2022, from the noisiest level on, and 0."""
    ends = [side ** (1 / 7) for side in (high, low)]
    levels = [(ends[0] + i / (count - 1) * (ends[1] - ends[0])) ** 7 for i in range(count)]
    return torch.tensor([*levels, 0.0], dtype=torch.float64)


def euler(denoise: Denoise, x: Tensor, levels: Tensor, is_heun: bool = False) -> Tensor:
    """Algorithm 1 of Karras et al. 2022 without noise, or its Euler steps alone."""
    for now, after in pairwise(levels):
        slope = (x - denoise(x, now.expand(len(x)))) / now
        moved = x + (after - now) * slope
        if is_heun and after > 0:
            slope = (slope + (moved - denoise(moved, after.expand(len(x)))) / after) / 2
            moved = x + (after - now) * slope
        x = moved
    return x
