"""The unconditional checkpoints of Nichol & Dhariwal 2021 (improved-diffusion): CIFAR-10, ImageNet 64, LSUN.

The blocks are numbered through, `input_blocks` downwards and `output_blocks` upwards. Queries, keys and values are one
convolution whose channels are ordered by head first. The network is given the time t * 1000 / T, a fraction for T =
4000; diffusers only passes whole timesteps, so its time embedding becomes a table of T rows. Number of heads, noise
schedule and T are not in the file: the defaults are those of CIFAR-10 and ImageNet 64, LSUN has 1 head, the linear
schedule and T = 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.architecture import Architecture, Converted, Untold, scheduler_config, unet_shapes
from mmd_ddm.pretrained.formats.ledger import Ledger

NAME = "improved-diffusion"
SIGN = "input_blocks.0.0.weight"  # no other format has a tensor of this name
DEFAULTS = Untold(heads=4, beta_schedule="cosine", length=4000)
_CLOCK = 1000  # the time that the network is given ends here, whatever T


def convert(tensors: Mapping[str, Tensor], untold: Untold = DEFAULTS) -> Converted:
    """Convert a state dict in the names of the format.

    Raises:
        UserError: it is of another architecture (names the first tensor in the way), or what is told does not fit.
    """
    ledger = Ledger(tensors, NAME)
    found = _architecture(ledger)
    modulation = ledger.shape("input_blocks.1.0.emb_layers.1.weight")[0]
    config = {
        **found.config(untold),
        **_heads(found, untold.heads),
        "resnet_time_scale_shift": "scale_shift" if modulation == 2 * found.widths[0] else "default",
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }
    if untold.length != _CLOCK:
        config |= {"time_embedding_type": "learned", "num_train_timesteps": untold.length}
        ledger.put("time_proj.weight", _embedding(untold.length, found.widths[0]), "time_embed")
    _carry_over(ledger, found, untold.heads)
    return Converted(config, ledger.close(unet_shapes(config)), scheduler_config(found, untold, _CLOCK / untold.length))


def _heads(found: Architecture, heads: int) -> dict[str, object]:
    widths = {found.widths[-1], *(width for width, has in zip(found.widths, found.attention, strict=True) if has)}
    if uneven := [width for width in widths if heads < 1 or width % heads]:
        raise UserError(f"heads is {heads}; it must divide the width of every attention layer, one is {uneven[0]}")
    if heads == 1:
        return {"attention_head_dim": None}
    if len(widths) == 1:
        return {"attention_head_dim": widths.pop() // heads}
    return {"num_attention_heads": heads}


def _embedding(length: int, width: int) -> Tensor:
    """Rows cos(s f_i), sin(s f_i) with s = t * 1000 / T and f_i = 10000^(-i / (width / 2))."""
    from diffusers.models.embeddings import get_timestep_embedding

    times = torch.arange(length, dtype=torch.float32) * (_CLOCK / length)
    rows: Tensor = get_timestep_embedding(times, width, flip_sin_to_cos=True, downscale_freq_shift=0)
    return rows


def _architecture(ledger: Ledger) -> Architecture:
    def has(number: int, layer: str) -> bool:
        return f"input_blocks.{number}.0.{layer}.weight" in ledger

    end = next(number for number in count(1) if not (has(number, "in_layers.2") or has(number, "op")))
    firsts = [1, *(number + 1 for number in range(1, end) if has(number, "op"))]  # blocks of the levels
    return Architecture(
        in_channels=ledger.shape("input_blocks.0.0.weight")[1],
        out_channels=ledger.shape("out.2.weight")[0],
        widths=tuple(ledger.shape(f"input_blocks.{number}.0.in_layers.2.weight")[0] for number in firsts),
        blocks=next(number for number in count(1) if not has(number, "in_layers.2")) - 1,
        attention=tuple(f"input_blocks.{number}.1.qkv.weight" in ledger for number in firsts),
    )


def _carry_over(ledger: Ledger, found: Architecture, heads: int) -> None:
    outside = {
        "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
    }  # fmt: skip
    for old, new in outside.items():
        ledger.move(old, new)
    last, step = len(found.widths) - 1, found.blocks + 1  # numbers of a level: its blocks and, downwards, the halving
    for i, attention in enumerate(found.attention):
        for way, first, new, blocks in (
            ("input_blocks", 1 + i * step, f"down_blocks.{i}", found.blocks),
            ("output_blocks", (last - i) * step, f"up_blocks.{last - i}", found.blocks + 1),
        ):
            for j in range(blocks):
                _residual(ledger, f"{way}.{first + j}.0", f"{new}.resnets.{j}")
                if attention:
                    _attention(ledger, f"{way}.{first + j}.1", f"{new}.attentions.{j}", heads)
        if i < last:
            ledger.move(f"input_blocks.{(i + 1) * step}.0.op", f"down_blocks.{i}.downsamplers.0.conv")
        if i > 0:
            doubling = f"output_blocks.{(last - i + 1) * step - 1}.{1 + attention}.conv"
            ledger.move(doubling, f"up_blocks.{last - i}.upsamplers.0.conv")
    _residual(ledger, "middle_block.0", "mid_block.resnets.0")
    _attention(ledger, "middle_block.1", "mid_block.attentions.0", heads)
    _residual(ledger, "middle_block.2", "mid_block.resnets.1")


def _residual(ledger: Ledger, old: str, new: str) -> None:
    names = {
        "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2", "out_layers.3": "conv2",
    }  # fmt: skip
    for layer, name in names.items():
        ledger.move(f"{old}.{layer}", f"{new}.{name}")
    if f"{old}.skip_connection.weight" in ledger:
        ledger.move(f"{old}.skip_connection", f"{new}.conv_shortcut")


def _attention(ledger: Ledger, old: str, new: str, heads: int) -> None:
    ledger.move(f"{old}.norm", f"{new}.group_norm")
    for kind in ("weight", "bias"):
        joint = ledger.take(f"{old}.qkv.{kind}")
        if not joint.dim() or len(joint) % (3 * heads):
            shape = tuple(joint.shape)
            raise UserError(f"{old}.qkv.{kind} has shape {shape}: not queries, keys, values of {heads} heads")
        # (heads, 3, width of a head, ...): each head has its queries, keys and values together
        parts = joint.flatten(1 if kind == "weight" else 0).unflatten(0, (heads, 3, -1))
        for part, layer in enumerate(("to_q", "to_k", "to_v")):
            ledger.put(f"{new}.{layer}.{kind}", parts[:, part].flatten(0, 1).contiguous(), f"{old}.qkv.{kind}")
    ledger.flatten(f"{old}.proj_out", f"{new}.to_out.0")
