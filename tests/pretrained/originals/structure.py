"""The published U-Nets: their levels, their numbers of parameters, and random weights for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = dict[str, Tensor]
Shapes = Iterator[tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Structure:
    """A U-Net of either family."""

    width: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]  # levels
    outputs: int = 3
    heads: int = 1
    scale_shift: bool = False
    length: int = 1000
    resampling: bool = False  # between levels residual blocks
    head_width: int | None = None  # in place of heads
    parts_first: bool = False  # all queries before all keys
    classes: int = 0

    @property
    def widths(self) -> list[int]:
        return [self.width * each for each in self.multipliers]

    def ladder(self) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """(level, input width, output width) of every residual block on the way down and on the way up."""
        skips, down, up, now = [self.width], [], [], self.width
        for level, width in enumerate(self.widths):
            for _ in range(self.blocks):
                down.append((level, now, width))
                now = width
                skips.append(width)
            if level + 1 < len(self.widths):
                skips.append(width)
        for level in reversed(range(len(self.widths))):
            for _ in range(self.blocks + 1):
                up.append((level, now + skips.pop(), self.widths[level]))
                now = self.widths[level]
        return down, up

    def parameters(self) -> int:
        """Their number, from sums over layers."""
        time = 4 * self.width

        def convolution(inputs: int, outputs: int, kernel: int = 3) -> int:
            return outputs * (inputs * kernel**2 + 1)

        def block(inputs: int, outputs: int) -> int:
            shortcut = convolution(inputs, outputs, 1) if inputs != outputs else 0
            modulation = (1 + self.scale_shift) * outputs * (time + 1)
            norms = 2 * inputs + 2 * outputs
            return norms + convolution(inputs, outputs) + modulation + convolution(outputs, outputs) + shortcut

        def attention(width: int) -> int:
            return 2 * width + 4 * convolution(width, width, 1)

        down, up = self.ladder()
        last = self.widths[-1]
        total = self.width * time + time + time * time + time + self.classes * time  # two linear layers, labels
        total += convolution(3, self.width) + 2 * self.width + convolution(self.width, self.outputs)
        total += sum(block(i, o) + (attention(o) if level in self.attention else 0) for level, i, o in down + up)
        resampled = self.widths[:-1] + self.widths[1:]
        total += sum(block(w, w) if self.resampling else convolution(w, w) for w in resampled)
        return total + 2 * block(last, last) + attention(last)


CIFAR = Structure(128, (1, 2, 2, 2), 2, (1,))
CELEBA = Structure(128, (1, 2, 2, 2, 4), 2, (2,))
LSUN = Structure(128, (1, 1, 2, 2, 4, 4), 2, (4,))
# Dhariwal & Nichol 2021, Section 3 and their published flags
ADM_LSUN = Structure(
    256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), outputs=6, scale_shift=True, resampling=True, head_width=64
)  # fmt: skip
ADM_IMAGENET_64 = Structure(
    192, (1, 2, 3, 4), 3, (1, 2, 3), outputs=6, scale_shift=True, resampling=True, head_width=64, parts_first=True,
    classes=1000,
)  # fmt: skip
ADM_IMAGENET_128 = Structure(
    256, (1, 1, 2, 3, 4), 2, (2, 3, 4), outputs=6, heads=4, scale_shift=True, resampling=True, classes=1000
)  # fmt: skip
# their released class-conditional model, with 192 channels
IMAGENET_CONDITIONAL = Structure(
    192, (1, 2, 3, 4), 3, (2, 3), outputs=6, heads=4, scale_shift=True, length=4000, classes=1000
)  # fmt: skip
IMAGENET = Structure(128, (1, 2, 3, 4), 3, (2, 3), outputs=6, heads=4, scale_shift=True, length=4000)


def layer(name: str, *shape: int) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def draw(shapes: Shapes, seed: int = 0) -> Weights:
    """Random weights of which none is zero and each layer keeps the scale of its input."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes:
        normal = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            weights[name] = normal / math.sqrt(math.prod(shape[1:]))
        else:
            weights[name] = 0.3 * normal + (".weight" in name)  # of normalisations, and biases
    return weights


def levels_of(side: int, width: int, multipliers: Sequence[int]) -> list[tuple[str, int, int]]:
    """Name, side and width of each level of an EDM network, whose sides are halved from one to the next."""
    sides = [side >> n for n in range(len(multipliers))]
    return [(f"{side}x{side}", side, width * m) for side, m in zip(sides, multipliers, strict=True)]
