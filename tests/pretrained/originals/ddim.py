"""The checkpoints of the DDIM authors: Ho et al. 2020 (Appendix B) and Song et al. 2021."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tests.pretrained.originals.layers import Layers, attend
from tests.pretrained.originals.structure import Shapes, Structure, Weights, layer


def ddim_shapes(s: Structure) -> Shapes:
    """Names and shapes of a DDIM checkpoint."""
    time = 4 * s.width

    def block(name: str, inputs: int, outputs: int) -> Shapes:
        yield from layer(f"{name}.norm1", inputs)
        yield from layer(f"{name}.conv1", outputs, inputs, 3, 3)
        yield from layer(f"{name}.temb_proj", outputs, time)
        yield from layer(f"{name}.norm2", outputs)
        yield from layer(f"{name}.conv2", outputs, outputs, 3, 3)
        if inputs != outputs:
            yield from layer(f"{name}.nin_shortcut", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> Shapes:
        yield from layer(f"{name}.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            yield from layer(f"{name}.{part}", width, width, 1, 1)

    yield from layer("temb.dense.0", time, s.width)
    yield from layer("temb.dense.1", time, time)
    yield from layer("conv_in", s.width, 3, 3, 3)
    for way, ladder, count in zip(("down", "up"), s.ladder(), (s.blocks, s.blocks + 1), strict=True):
        for n, (level, inputs, outputs) in enumerate(ladder):
            yield from block(f"{way}.{level}.block.{n % count}", inputs, outputs)
            if level in s.attention:
                yield from attention(f"{way}.{level}.attn.{n % count}", outputs)
    for level, width in enumerate(s.widths):
        if level + 1 < len(s.widths):
            yield from layer(f"down.{level}.downsample.conv", width, width, 3, 3)
        if level:
            yield from layer(f"up.{level}.upsample.conv", width, width, 3, 3)
    yield from block("mid.block_1", s.widths[-1], s.widths[-1])
    yield from attention("mid.attn_1", s.widths[-1])
    yield from block("mid.block_2", s.widths[-1], s.widths[-1])
    yield from layer("norm_out", s.width)
    yield from layer("conv_out", s.outputs, s.width, 3, 3)


def ddim_network(s: Structure, weights: Weights) -> Callable[[Tensor, Tensor], Tensor]:
    """The network of a DDIM checkpoint, a function of images and whole timesteps."""
    layers, silu = Layers(weights, 1e-6), functional.silu

    def block(name: str, x: Tensor, time: Tensor) -> Tensor:
        h = layers.conv(f"{name}.conv1", silu(layers.norm(f"{name}.norm1", x)))
        h = h + layers.linear(f"{name}.temb_proj", silu(time))[:, :, None, None]
        h = layers.conv(f"{name}.conv2", silu(layers.norm(f"{name}.norm2", h)))
        return h + (layers.conv(f"{name}.nin_shortcut", x, padding=0) if layers.has(f"{name}.nin_shortcut") else x)

    def attention(name: str, x: Tensor) -> Tensor:
        h = layers.norm(f"{name}.norm", x).flatten(2)
        q, k, v = (layers.point(f"{name}.{part}", h) for part in "qkv")
        return x + layers.point(f"{name}.proj_out", attend(q, k, v)).view_as(x)

    def network(x: Tensor, t: Tensor) -> Tensor:
        half = s.width // 2
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / (half - 1))
        time = layers.linear("temb.dense.0", torch.cat([angles.sin(), angles.cos()], 1).to(x))
        time = layers.linear("temb.dense.1", silu(time))
        h = layers.conv("conv_in", x)
        skips = [h]
        for level in range(len(s.widths)):
            for n in range(s.blocks):
                h = block(f"down.{level}.block.{n}", h, time)
                h = attention(f"down.{level}.attn.{n}", h) if level in s.attention else h
                skips.append(h)
            if level + 1 < len(s.widths):  # one row and column of zeros, after the last
                h = layers.conv(f"down.{level}.downsample.conv", functional.pad(h, (0, 1, 0, 1)), stride=2, padding=0)
                skips.append(h)
        h = block("mid.block_1", h, time)
        h = block("mid.block_2", attention("mid.attn_1", h), time)
        for level in reversed(range(len(s.widths))):
            for n in range(s.blocks + 1):
                h = block(f"up.{level}.block.{n}", torch.cat([h, skips.pop()], 1), time)
                h = attention(f"up.{level}.attn.{n}", h) if level in s.attention else h
            if level:
                h = h.repeat_interleave(2, 2).repeat_interleave(2, 3)
                h = layers.conv(f"up.{level}.upsample.conv", h)
        return layers.conv("conv_out", silu(layers.norm("norm_out", h)))

    return network
