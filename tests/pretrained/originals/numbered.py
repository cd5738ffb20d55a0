"""The checkpoints of improved-diffusion and guided-diffusion.

Nichol & Dhariwal 2021 (Section 3 and Appendix A), Dhariwal & Nichol 2021 (Section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tests.pretrained.originals.layers import Layers, attend
from tests.pretrained.originals.structure import Shapes, Structure, Weights, layer


def numbered_shapes(s: Structure) -> Shapes:
    """Names and shapes of a checkpoint."""
    time = 4 * s.width

    def block(name: str, inputs: int, outputs: int) -> Shapes:
        yield from layer(f"{name}.in_layers.0", inputs)
        yield from layer(f"{name}.in_layers.2", outputs, inputs, 3, 3)
        yield from layer(f"{name}.emb_layers.1", outputs * (1 + s.scale_shift), time)
        yield from layer(f"{name}.out_layers.0", outputs)
        yield from layer(f"{name}.out_layers.3", outputs, outputs, 3, 3)
        if inputs != outputs:
            yield from layer(f"{name}.skip_connection", outputs, inputs, 1, 1)

    def attention(name: str, width: int) -> Shapes:
        yield from layer(f"{name}.norm", width)
        yield from layer(f"{name}.qkv", 3 * width, width, 1)
        yield from layer(f"{name}.proj_out", width, width, 1)

    def resampling(name: str, convolution: str, width: int) -> Shapes:
        if s.resampling:
            yield from block(name, width, width)
        else:
            yield from layer(f"{name}.{convolution}", width, width, 3, 3)

    yield from layer("time_embed.0", time, s.width)
    yield from layer("time_embed.2", time, time)
    if s.classes:
        yield "label_emb.weight", (s.classes, time)
    yield from layer("input_blocks.0.0", s.width, 3, 3, 3)
    down, up = s.ladder()
    place = 1
    for n, (level, inputs, outputs) in enumerate(down, 1):
        yield from block(f"input_blocks.{place}.0", inputs, outputs)
        if level in s.attention:
            yield from attention(f"input_blocks.{place}.1", outputs)
        place += 1
        if n % s.blocks == 0 and level + 1 < len(s.widths):
            yield from resampling(f"input_blocks.{place}.0", "op", outputs)
            place += 1
    yield from block("middle_block.0", s.widths[-1], s.widths[-1])
    yield from attention("middle_block.1", s.widths[-1])
    yield from block("middle_block.2", s.widths[-1], s.widths[-1])
    for place, (level, inputs, outputs) in enumerate(up):
        yield from block(f"output_blocks.{place}.0", inputs, outputs)
        if level in s.attention:
            yield from attention(f"output_blocks.{place}.1", outputs)
        if level and (place + 1) % (s.blocks + 1) == 0:
            number = 2 if level in s.attention else 1
            yield from resampling(f"output_blocks.{place}.{number}", "conv", outputs)
    yield from layer("out.0", s.width)
    yield from layer("out.2", s.outputs, s.width, 3, 3)


def numbered_network(s: Structure, weights: Weights) -> Callable[..., Tensor]:
    """The network of a checkpoint, a function of images, timesteps 0 ... T-1 and, if it knows classes, labels."""
    layers, silu = Layers(weights, 1e-5), functional.silu

    def doubled(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def halved(x: Tensor) -> Tensor:
        return x.unflatten(3, (-1, 2)).mean(4).unflatten(2, (-1, 2)).mean(3)

    def block(name: str, x: Tensor, time: Tensor, resampled: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        h = layers.conv(f"{name}.in_layers.2", resampled(silu(layers.norm(f"{name}.in_layers.0", x))))
        x = resampled(x)
        modulation = layers.linear(f"{name}.emb_layers.1", silu(time))[:, :, None, None]
        if s.scale_shift:
            scale, shift = modulation.chunk(2, 1)
            h = layers.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = layers.norm(f"{name}.out_layers.0", h + modulation)
        h = layers.conv(f"{name}.out_layers.3", silu(h))
        return h + (
            layers.conv(f"{name}.skip_connection", x, padding=0) if layers.has(f"{name}.skip_connection") else x
        )

    def attention(name: str, x: Tensor) -> Tensor:
        joint = layers.point(f"{name}.qkv", layers.norm(f"{name}.norm", x.flatten(2)))
        count = s.heads if s.head_width is None else x.shape[1] // s.head_width
        if s.parts_first:
            heads = [
                attend(*parts) for parts in zip(*(part.chunk(count, 1) for part in joint.chunk(3, 1)), strict=True)
            ]
        else:  # head by head, each with its own queries, keys and values
            heads = [attend(*head.chunk(3, 1)) for head in joint.chunk(count, 1)]
        return x + layers.point(f"{name}.proj_out", torch.cat(heads, 1)).view_as(x)

    def run(name: str, h: Tensor, time: Tensor, *down: Callable[[Tensor], Tensor]) -> Tensor:
        for n in range(3):
            part = f"{name}.{n}"
            if layers.has(f"{part}.in_layers.0"):
                h = block(part, h, time, doubled) if n and "output" in name else block(part, h, time, *down)
            elif layers.has(f"{part}.qkv"):
                h = attention(part, h)
            elif layers.has(f"{part}.op"):
                h = layers.conv(f"{part}.op", h, stride=2)
            elif layers.has(f"{part}.conv"):
                h = layers.conv(f"{part}.conv", doubled(h))
            elif layers.has(part):
                h = layers.conv(part, h)
        return h

    def network(x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        half = s.width // 2
        clock = t[:, None].float() * (1000 / s.length)
        angles = clock * torch.exp(-math.log(10000) * torch.arange(half) / half)
        time = layers.linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1).to(x))
        time = layers.linear("time_embed.2", silu(time))
        if labels is not None:  # a product with rows of the identity
            time = time + functional.one_hot(labels, s.classes).to(time) @ weights["label_emb.weight"]
        down, up = s.ladder()
        h, skips = x, []
        for n in range(len(down) + len(s.widths)):  # the first convolution and the steps down between levels
            last = n and n % (s.blocks + 1) == 0 and s.resampling
            h = run(f"input_blocks.{n}", h, time, *([halved] if last else []))
            skips.append(h)
        h = run("middle_block", h, time)
        for n in range(len(up)):
            h = run(f"output_blocks.{n}", torch.cat([h, skips.pop()], 1), time)
        return layers.conv("out.2", silu(layers.norm("out.0", h)))

    return network
