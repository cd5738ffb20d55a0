"""The published networks in their own names: shapes of a checkpoint's tensors, and what the network computes from them.

A restatement for tests, written from the papers and the published structure: Ho et al. 2020 (Appendix B) and Song et
al. 2021 for `ddim`, Nichol & Dhariwal 2021 (Section 3 and Appendix A) for `improved-diffusion`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

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
        total = self.width * time + time + time * time + time  # two linear layers
        total += convolution(3, self.width) + 2 * self.width + convolution(self.width, self.outputs)
        total += sum(block(i, o) + (attention(o) if level in self.attention else 0) for level, i, o in down + up)
        total += sum(convolution(w, w) for w in self.widths[:-1]) + sum(convolution(w, w) for w in self.widths[1:])
        return total + 2 * block(last, last) + attention(last)


CIFAR = Structure(128, (1, 2, 2, 2), 2, (1,))
CELEBA = Structure(128, (1, 2, 2, 2, 4), 2, (2,))
LSUN = Structure(128, (1, 1, 2, 2, 4, 4), 2, (4,))
IMAGENET = Structure(128, (1, 2, 3, 4), 3, (2, 3), outputs=6, heads=4, scale_shift=True, length=4000)


def _layer(name: str, *shape: int) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def ddim_shapes(s: Structure) -> Shapes:
    """Names and shapes of a DDIM checkpoint."""
    time = 4 * s.width

    def block(name: str, inputs: int, outputs: int) -> Shapes:
        yield from _layer(f"{name}.norm1", inputs)
        yield from _layer(f"{name}.conv1", outputs, inputs, 3, 3)
        yield from _layer(f"{name}.temb_proj", outputs, time)
        yield from _layer(f"{name}.norm2", outputs)
        yield from _layer(f"{name}.conv2", outputs, outputs, 3, 3)
        if inputs != outputs:
            yield from _layer(f"{name}.nin_shortcut", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> Shapes:
        yield from _layer(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            yield from _layer(f"{name}.{part}", width, width, 1, 1)

    yield from _layer("temb.dense.0", time, s.width)
    yield from _layer("temb.dense.1", time, time)
    yield from _layer("conv_in", s.width, 3, 3, 3)
    for way, ladder, count in zip(("down", "up"), s.ladder(), (s.blocks, s.blocks + 1), strict=True):
        for n, (level, inputs, outputs) in enumerate(ladder):
            yield from block(f"{way}.{level}.block.{n % count}", inputs, outputs)
            if level in s.attention:
                yield from attention(f"{way}.{level}.attn.{n % count}", outputs)
    for level, width in enumerate(s.widths):
        if level + 1 < len(s.widths):
            yield from _layer(f"down.{level}.downsample.conv", width, width, 3, 3)
        if level:
            yield from _layer(f"up.{level}.upsample.conv", width, width, 3, 3)
    yield from block("mid.block_1", s.widths[-1], s.widths[-1])
    yield from attention("mid.attn_1", s.widths[-1])
    yield from block("mid.block_2", s.widths[-1], s.widths[-1])
    yield from _layer("norm_out", s.width)
    yield from _layer("conv_out", s.outputs, s.width, 3, 3)


def improved_shapes(s: Structure) -> Shapes:
    """Names and shapes of an improved-diffusion checkpoint."""
    time = 4 * s.width

    def block(name: str, inputs: int, outputs: int) -> Shapes:
        yield from _layer(f"{name}.in_layers.0", inputs)
        yield from _layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        yield from _layer(f"{name}.emb_layers.1", outputs * (1 + s.scale_shift), time)
        yield from _layer(f"{name}.out_layers.0", outputs)
        yield from _layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            yield from _layer(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> Shapes:
        yield from _layer(f"{name}.norm", width)
        yield from _layer(f"{name}.qkv", 3 * width, width, 1)
        yield from _layer(f"{name}.proj_out", width, width, 1)

    yield from _layer("time_embed.0", time, s.width)
    yield from _layer("time_embed.2", time, time)
    yield from _layer("input_blocks.0.0", s.width, 3, 3, 3)
    down, up = s.ladder()
    place = 1
    for n, (level, inputs, outputs) in enumerate(down, 1):
        yield from block(f"input_blocks.{place}.0", inputs, outputs)
        if level in s.attention:
            yield from attention(f"input_blocks.{place}.1", outputs)
        place += 1
        if n % s.blocks == 0 and level + 1 < len(s.widths):
            yield from _layer(f"input_blocks.{place}.0.op", outputs, outputs, 3, 3)
            place += 1
    yield from block("middle_block.0", s.widths[-1], s.widths[-1])
    yield from attention("middle_block.1", s.widths[-1])
    yield from block("middle_block.2", s.widths[-1], s.widths[-1])
    for place, (level, inputs, outputs) in enumerate(up):
        yield from block(f"output_blocks.{place}.0", inputs, outputs)
        if level in s.attention:
            yield from attention(f"output_blocks.{place}.1", outputs)
        if level and (place + 1) % (s.blocks + 1) == 0:
            layer = 2 if level in s.attention else 1
            yield from _layer(f"output_blocks.{place}.{layer}.conv", outputs, outputs, 3, 3)
    yield from _layer("out.0", s.width)
    yield from _layer("out.2", s.outputs, s.width, 3, 3)


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


class _Layers:
    def __init__(self, weights: Weights, epsilon: float) -> None:
        self.weights, self.epsilon = weights, epsilon

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.weights

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv2d(x, *self._of(name), stride=stride, padding=padding)

    def point(self, name: str, x: Tensor) -> Tensor:
        """A convolution with a kernel of 1 on (N, C, positions)."""
        weight, bias = self._of(name)
        return torch.einsum("oc,ncp->nop", weight.flatten(1), x) + bias[:, None]

    def linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._of(name)
        return x @ weight.T + bias

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._of(name)
        groups = x.unflatten(1, (32, -1)).flatten(2)
        scaled = (groups - groups.mean(2, keepdim=True)) / (
            groups.var(2, correction=0, keepdim=True) + self.epsilon
        ).sqrt()
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        return scaled.view_as(x) * weight.view(shape) + bias.view(shape)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("ncp,ncs->nps", q, k) / math.sqrt(q.shape[1])
    return torch.einsum("nps,ncs->ncp", scores.softmax(2), v)


def ddim_network(s: Structure, weights: Weights) -> Callable[[Tensor, Tensor], Tensor]:
    """The network of a DDIM checkpoint, a function of images and whole timesteps."""
    layer, silu = _Layers(weights, 1e-6), functional.silu

    def block(name: str, x: Tensor, time: Tensor) -> Tensor:
        h = layer.conv(f"{name}.conv1", silu(layer.norm(f"{name}.norm1", x)))
        h = h + layer.linear(f"{name}.temb_proj", silu(time))[:, :, None, None]
        h = layer.conv(f"{name}.conv2", silu(layer.norm(f"{name}.norm2", h)))
        return h + (layer.conv(f"{name}.nin_shortcut", x, padding=0) if layer.has(f"{name}.nin_shortcut") else x)

    def attention(name: str, x: Tensor) -> Tensor:
        h = layer.norm(f"{name}.norm", x).flatten(2)
        q, k, v = (layer.point(f"{name}.{part}", h) for part in "qkv")
        return x + layer.point(f"{name}.proj_out", _attend(q, k, v)).view_as(x)

    def network(x: Tensor, t: Tensor) -> Tensor:
        half = s.width // 2
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        time = layer.linear("temb.dense.0", torch.cat([angles.sin(), angles.cos()], 1).to(x))
        time = layer.linear("temb.dense.1", silu(time))
        h = layer.conv("conv_in", x)
        skips = [h]
        for level in range(len(s.widths)):
            for n in range(s.blocks):
                h = block(f"down.{level}.block.{n}", h, time)
                h = attention(f"down.{level}.attn.{n}", h) if level in s.attention else h
                skips.append(h)
            if level + 1 < len(s.widths):  # one row and column of zeros, after the last
                h = layer.conv(f"down.{level}.downsample.conv", functional.pad(h, (0, 1, 0, 1)), stride=2, padding=0)
                skips.append(h)
        h = block("mid.block_1", h, time)
        h = block("mid.block_2", attention("mid.attn_1", h), time)
        for level in reversed(range(len(s.widths))):
            for n in range(s.blocks + 1):
                h = block(f"up.{level}.block.{n}", torch.cat([h, skips.pop()], 1), time)
                h = attention(f"up.{level}.attn.{n}", h) if level in s.attention else h
            if level:
                h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
                h = layer.conv(f"up.{level}.upsample.conv", h)
        return layer.conv("conv_out", silu(layer.norm("norm_out", h)))

    return network


def improved_network(s: Structure, weights: Weights) -> Callable[[Tensor, Tensor], Tensor]:
    """The network of an improved-diffusion checkpoint, a function of images and timesteps 0 ... T-1."""
    layer, silu = _Layers(weights, 1e-5), functional.silu

    def block(name: str, x: Tensor, time: Tensor) -> Tensor:
        h = layer.conv(f"{name}.in_layers.2", silu(layer.norm(f"{name}.in_layers.0", x)))
        modulation = layer.linear(f"{name}.emb_layers.1", silu(time))[:, :, None, None]
        if s.scale_shift:
            scale, shift = modulation.chunk(2, 1)
            h = layer.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = layer.norm(f"{name}.out_layers.0", h + modulation)
        h = layer.conv(f"{name}.out_layers.3", silu(h))
        return h + (layer.conv(f"{name}.skip_connection", x, padding=0) if layer.has(f"{name}.skip_connection") else x)

    def attention(name: str, x: Tensor) -> Tensor:
        joint = layer.point(f"{name}.qkv", layer.norm(f"{name}.norm", x.flatten(2)))
        # head by head, each with its own queries, keys and values
        heads = [_attend(*head.chunk(3, 1)) for head in joint.chunk(s.heads, 1)]
        return x + layer.point(f"{name}.proj_out", torch.cat(heads, 1)).view_as(x)

    def run(name: str, h: Tensor, time: Tensor) -> Tensor:
        for n in range(3):
            part = f"{name}.{n}"
            if layer.has(f"{part}.in_layers.0"):
                h = block(part, h, time)
            elif layer.has(f"{part}.qkv"):
                h = attention(part, h)
            elif layer.has(f"{part}.op"):
                h = layer.conv(f"{part}.op", h, stride=2)
            elif layer.has(f"{part}.conv"):
                h = layer.conv(f"{part}.conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
            elif layer.has(part):
                h = layer.conv(part, h)
        return h

    def network(x: Tensor, t: Tensor) -> Tensor:
        half = s.width // 2
        clock = t[:, None].float() * (1000 / s.length)
        angles = clock * torch.exp(-math.log(10000) * torch.arange(half) / half)
        time = layer.linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1).to(x))
        time = layer.linear("time_embed.2", silu(time))
        down, up = s.ladder()
        h, skips = x, []
        for n in range(len(down) + len(s.widths)):  # the first convolution and the steps down between levels
            h = run(f"input_blocks.{n}", h, time)
            skips.append(h)
        h = run("middle_block", h, time)
        for n in range(len(up)):
            h = run(f"output_blocks.{n}", torch.cat([h, skips.pop()], 1), time)
        return layer.conv("out.2", silu(layer.norm("out.0", h)))

    return network
