"""The PyTorch checkpoints of Ho et al. 2020 and Song et al. 2021: CIFAR-10, LSUN and CelebA.

They come from the DDIM authors' training code (CelebA: a list, its element 4 the averaged weights) and from the
conversion of the original DDPM weights that their code samples from (pytorch_diffusion: plain state dicts). Attention
has one head and its layers are convolutions with a kernel of 1; level i of `up` is level i of `down`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from itertools import count

from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.architecture import Architecture, Converted, Untold, scheduler_config, unet_shapes
from mmd_ddm.pretrained.formats.ledger import Ledger

NAME = "ddim"
DEFAULTS = Untold()
_LSUN = 256  # side of the images; the authors' configs say `fixedsmall` for them, `fixedlarge` for CIFAR-10 and CelebA
# of the U-Net: attention has one head, a halving pads on the right and below only
SETTINGS: Mapping[str, object] = {
    "attention_head_dim": None, "norm_eps": 1e-6, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip


def recognises(names: Container[str]) -> bool:
    """Whether tensors of these names are of the format."""
    return "temb.dense.0.weight" in names


def convert(tensors: Mapping[str, Tensor], untold: Untold = DEFAULTS) -> Converted:
    """Convert a state dict in the names of the format, of one head.

    Raises:
        UserError: it is of another architecture (names the first tensor in the way), or what is told does not fit.
    """
    if untold.heads != 1 or untold.head_width:
        raise UserError(f"heads is {untold.heads}; attention in format {NAME} has one, as wide as its level")
    ledger = Ledger(tensors, NAME)
    found = _architecture(ledger)
    config = {**found.config(untold), **SETTINGS}
    if untold.variance_type is None and config["sample_size"] == _LSUN:
        untold = replace(untold, variance_type="fixed_small")
    _carry_over(ledger, found)
    return Converted(config, ledger.close(unet_shapes(config)), scheduler_config(found, untold))


def _architecture(ledger: Ledger) -> Architecture:
    levels = _count(ledger, "down.{}.block.0.conv1.weight")
    return Architecture(
        in_channels=ledger.shape("conv_in.weight")[1],
        out_channels=ledger.shape("conv_out.weight")[0],
        widths=tuple(ledger.shape(f"down.{i}.block.0.conv1.weight")[0] for i in range(max(levels, 1))),
        blocks=_count(ledger, "down.0.block.{}.conv1.weight"),
        attention=tuple(f"down.{i}.attn.0.q.weight" in ledger for i in range(levels)),
    )


def _count(ledger: Ledger, pattern: str) -> int:
    return next(number for number in count() if pattern.format(number) not in ledger)


def _carry_over(ledger: Ledger, found: Architecture) -> None:
    last = len(found.widths) - 1
    for i in range(2):
        ledger.move(f"temb.dense.{i}", f"time_embedding.linear_{i + 1}")
    for old, new in (("conv_in", "conv_in"), ("norm_out", "conv_norm_out"), ("conv_out", "conv_out")):
        ledger.move(old, new)
    for i, attention in enumerate(found.attention):
        for way, new, more in (("down", f"down_blocks.{i}", 0), ("up", f"up_blocks.{last - i}", 1)):
            for j in range(found.blocks + more):
                _residual(ledger, f"{way}.{i}.block.{j}", f"{new}.resnets.{j}")
                if attention:
                    _attention(ledger, f"{way}.{i}.attn.{j}", f"{new}.attentions.{j}")
        if i < last:
            ledger.move(f"down.{i}.downsample.conv", f"down_blocks.{i}.downsamplers.0.conv")
        if i > 0:
            ledger.move(f"up.{i}.upsample.conv", f"up_blocks.{last - i}.upsamplers.0.conv")
    _residual(ledger, "mid.block_1", "mid_block.resnets.0")
    _attention(ledger, "mid.attn_1", "mid_block.attentions.0")
    _residual(ledger, "mid.block_2", "mid_block.resnets.1")


def _residual(ledger: Ledger, old: str, new: str) -> None:
    for name in ("norm1", "conv1", "norm2", "conv2"):
        ledger.move(f"{old}.{name}", f"{new}.{name}")
    ledger.move(f"{old}.temb_proj", f"{new}.time_emb_proj")
    for name in ("nin_shortcut", "conv_shortcut"):
        if f"{old}.{name}.weight" in ledger:
            ledger.move(f"{old}.{name}", f"{new}.conv_shortcut")


def _attention(ledger: Ledger, old: str, new: str) -> None:
    ledger.move(f"{old}.norm", f"{new}.group_norm")
    for part, layer in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")):
        ledger.flatten(f"{old}.{part}", f"{new}.{layer}")
