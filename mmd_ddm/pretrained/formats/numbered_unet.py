"""The U-Net of improved-diffusion and guided-diffusion: its blocks numbered through, and the settings that both share.

`input_blocks` go downwards and `output_blocks` upwards. Queries, keys and values are one convolution. Between two
levels there is a convolution (Nichol & Dhariwal 2021) or a residual block that resamples (Dhariwal & Nichol 2021,
Section 3). Class-conditional networks add an embedding of the label to that of the time. Widths and order of heads are
not in the tensors.
"""

from __future__ import annotations

from collections.abc import Container
from itertools import count

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.architecture import HEADS_FIRST, Architecture, Untold
from mmd_ddm.pretrained.formats.ledger import Ledger

SIGN = "input_blocks.0.0.weight"  # no other format has a tensor of this name
_LABELS = "label_emb.weight"  # a row a class


def architecture(ledger: Ledger) -> Architecture:
    """Read the levels off the tensors."""

    def has(number: int, layer: str) -> bool:
        return f"input_blocks.{number}.0.{layer}.weight" in ledger

    end = next(number for number in count(1) if not (has(number, "in_layers.2") or has(number, "op")))
    if resampled := blocks_before_resampling(ledger):
        firsts = list(range(1, end, resampled + 1))  # blocks of the levels
        blocks = resampled
    else:
        firsts = [1, *(number + 1 for number in range(1, end) if has(number, "op"))]
        blocks = next(number for number in count(1) if not has(number, "in_layers.2")) - 1
    return Architecture(
        in_channels=ledger.shape(SIGN)[1],
        out_channels=ledger.shape("out.2.weight")[0],
        widths=tuple(ledger.shape(f"input_blocks.{number}.0.in_layers.2.weight")[0] for number in firsts),
        blocks=blocks,
        attention=tuple(f"input_blocks.{number}.1.qkv.weight" in ledger for number in firsts),
        resampling_blocks=bool(resampled),
    )


def blocks_before_resampling(names: Container[str]) -> int:
    """Count the residual blocks of a level on the way down, if residual blocks resample; else 0."""

    def resamples(number: int) -> bool:
        return any(f"output_blocks.{number}.{layer}.in_layers.0.weight" in names for layer in (1, 2))

    found = next(n for n in count() if resamples(n) or f"output_blocks.{n}.0.in_layers.0.weight" not in names)
    return found if resamples(found) else 0


def settings(ledger: Ledger, found: Architecture, untold: Untold) -> dict[str, object]:
    """The config of a `UNet2DModel` but for its time embedding.

    Raises:
        UserError: what is told doesn't fit the network.
    """
    modulation = ledger.shape("input_blocks.1.0.emb_layers.1.weight")[0]
    return {
        **found.config(untold),
        **_heads(found, untold),
        **({"num_class_embeds": ledger.shape(_LABELS)[0]} if _LABELS in ledger else {}),
        "resnet_time_scale_shift": "scale_shift" if modulation == 2 * found.widths[0] else "default",
        "attn_norm_num_groups": 32,
        "norm_eps": 1e-5,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
    }


def _heads(found: Architecture, untold: Untold) -> dict[str, object]:
    widths = {found.widths[-1], *(width for width, has in zip(found.widths, found.attention, strict=True) if has)}
    if head := untold.head_width:
        if uneven := [width for width in widths if head < 1 or width % head]:
            raise UserError(
                f"head_width is {head}; it must divide the width of every attention layer, one is {uneven[0]}"
            )
        return {"attention_head_dim": head}
    heads = untold.heads
    if uneven := [width for width in widths if heads < 1 or width % heads]:
        raise UserError(f"heads is {heads}; it must divide the width of every attention layer, one is {uneven[0]}")
    if heads == 1:
        return {"attention_head_dim": None}
    if len(widths) == 1:
        return {"attention_head_dim": widths.pop() // heads}
    return {"num_attention_heads": heads}


def carry_over(ledger: Ledger, found: Architecture, untold: Untold) -> None:
    """Write all tensors down under their names in diffusers."""
    outside = {
        "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
    }  # fmt: skip
    for old, new in outside.items():
        ledger.move(old, new)
    if _LABELS in ledger:
        ledger.put("class_embedding.weight", ledger.take(_LABELS), _LABELS)
    last, step = len(found.widths) - 1, found.blocks + 1  # numbers of a level: its blocks and, downwards, the halving
    for i, attention in enumerate(found.attention):
        for way, first, new, blocks in (
            ("input_blocks", 1 + i * step, f"down_blocks.{i}", found.blocks),
            ("output_blocks", (last - i) * step, f"up_blocks.{last - i}", found.blocks + 1),
        ):
            for j in range(blocks):
                _residual(ledger, f"{way}.{first + j}.0", f"{new}.resnets.{j}")
                if attention:
                    _attention(ledger, f"{way}.{first + j}.1", f"{new}.attentions.{j}", untold)
        if i < last:
            _resample(ledger, found, f"input_blocks.{(i + 1) * step}.0", "op", f"down_blocks.{i}.downsamplers.0")
        if i > 0:
            doubling = f"output_blocks.{(last - i + 1) * step - 1}.{1 + attention}"
            _resample(ledger, found, doubling, "conv", f"up_blocks.{last - i}.upsamplers.0")
    _residual(ledger, "middle_block.0", "mid_block.resnets.0")
    _attention(ledger, "middle_block.1", "mid_block.attentions.0", untold)
    _residual(ledger, "middle_block.2", "mid_block.resnets.1")


def _resample(ledger: Ledger, found: Architecture, old: str, convolution: str, new: str) -> None:
    if found.resampling_blocks:
        _residual(ledger, old, new)
    else:
        ledger.move(f"{old}.{convolution}", f"{new}.conv")


def _residual(ledger: Ledger, old: str, new: str) -> None:
    names = {
        "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
        "out_layers.0": "norm2", "out_layers.3": "conv2",
    }  # fmt: skip
    for layer, name in names.items():
        ledger.move(f"{old}.{layer}", f"{new}.{name}")
    if f"{old}.skip_connection.weight" in ledger:
        ledger.move(f"{old}.skip_connection", f"{new}.conv_shortcut")


def _attention(ledger: Ledger, old: str, new: str, untold: Untold) -> None:
    ledger.move(f"{old}.norm", f"{new}.group_norm")
    for kind in ("weight", "bias"):
        joint = ledger.take(f"{old}.qkv.{kind}")
        heads = len(joint) // (3 * untold.head_width) if joint.dim() and untold.head_width else untold.heads
        if not joint.dim() or not heads or len(joint) % (3 * heads):
            shape = tuple(joint.shape)
            raise UserError(f"{old}.qkv.{kind} has shape {shape}: not queries, keys, values of {heads} heads")
        flat = joint.flatten(1 if kind == "weight" else 0)
        if untold.qkv_order == HEADS_FIRST:  # (heads, 3, width of a head, ...): each has its queries, keys and values
            parts = list(flat.unflatten(0, (heads, 3, -1)).unbind(1))
        else:
            parts = list(flat.unflatten(0, (3, heads, -1)).unbind(0))
        for part, layer in zip(parts, ("to_q", "to_k", "to_v"), strict=True):
            ledger.put(f"{new}.{layer}.{kind}", part.flatten(0, 1).contiguous(), f"{old}.qkv.{kind}")
    ledger.flatten(f"{old}.proj_out", f"{new}.to_out.0")
