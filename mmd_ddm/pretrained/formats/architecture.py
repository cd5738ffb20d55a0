"""What a checkpoint says of its network, what it does not say, and what comes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.stability_encoder import NormalisedLatents

if TYPE_CHECKING:
    from diffusers import UNet2DModel

QKV_ORDERS = HEADS_FIRST, PARTS_FIRST = ("heads_first", "parts_first")
_GROUPS = 32  # of the normalisation


@dataclass(frozen=True)
class Untold:
    """What the tensors of a checkpoint do not tell; each format has the values of its published models.

    A resolution of None is found by the format's convention at which resolution attention begins.
    """

    resolution: int | None = None  # side of the images
    prediction_type: str = "epsilon"  # as diffusers names it
    variance_type: str | None = None  # `fixed_large` or `fixed_small`, where it is not learned; None: the format's own
    dropout: float = 0.0  # of the residual blocks in training, 0 to below 1
    heads: int = 1  # of each attention layer, unless they have a width
    head_width: int | None = None  # channels of a head
    qkv_order: str = HEADS_FIRST  # of a joint layer's channels: each head's queries, keys, values, or all queries first
    beta_schedule: str = "linear"  # Ho et al. 2020, or `cosine`, Nichol & Dhariwal 2021, Equation 17
    length: int = 1000  # T


@dataclass(frozen=True)
class Architecture:
    """What the tensors tell."""

    in_channels: int  # of an image
    out_channels: int  # as many, or twice as many where the variance is learned
    widths: tuple[int, ...]  # of the levels, from the image's resolution downwards
    blocks: int  # residual blocks of a level on the way down
    attention: tuple[bool, ...]  # whether a level has it
    resampling_blocks: bool = False  # between levels residual blocks resample, not convolutions
    finest_attention: int = 16  # side of the largest maps with attention (Ho et al. 2020, Appendix B)

    def _resolution(self, asked: int | None) -> int:
        if asked is None and not any(self.attention):
            raise UserError("the checkpoint does not tell the resolution of its images; give it with --resolution")
        found = self.finest_attention << self.attention.index(True) if asked is None else asked
        step = 2 ** (len(self.widths) - 1)
        if found < step or found % step:
            raise UserError(f"resolution is {found}; this network's {len(self.widths)} levels need multiples of {step}")
        return found

    def config(self, untold: Untold) -> dict[str, object]:
        """The part of a `UNet2DModel`'s config that does not depend on the format.

        Raises:
            UserError: no resolution is given and there is no attention to tell it, the levels cannot halve it, or a
                width has no groups of normalisation.
        """
        if odd := [width for width in self.widths if width < 1 or width % _GROUPS]:
            raise UserError(f"the network has {odd[0]} channels; those of this format are multiples of {_GROUPS}")
        plain = "Resnet{}sampleBlock2D" if self.resampling_blocks else "{}Block2D"
        kinds = ["Attn{}Block2D" if has else plain for has in self.attention]
        resampling = {"downsample_type": "resnet", "upsample_type": "resnet"} if self.resampling_blocks else {}
        return {
            "sample_size": self._resolution(untold.resolution),
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.widths,
            "layers_per_block": self.blocks,
            "down_block_types": tuple(kind.format("Down") for kind in kinds),
            "up_block_types": tuple(kind.format("Up") for kind in reversed(kinds)),
            **resampling,
            "dropout": untold.dropout,
            "norm_num_groups": _GROUPS,
            "act_fn": "silu",
        }


@dataclass(frozen=True)
class Converted:
    """A checkpoint in diffusers' terms."""

    # of the U-Net; with `num_attention_heads` of `MultiHeadUNet2DModel`, with `preconditioning` of `EDMUNet2DModel`,
    # with `concat_balance` of `EDM2UNet2DModel`
    config: dict[str, object]
    weights: dict[str, Tensor]  # its state dict, float32
    scheduler: dict[str, object]  # config of its `DDPMScheduler`, or without a variance `DDIMScheduler`
    latents: NormalisedLatents | None = None  # what it makes; None: images


def build_unet(config: Mapping[str, object]) -> UNet2DModel:
    """Build the network of a config in eval mode, with weights drawn at random or, on the meta device, none."""
    from diffusers import DiTTransformer2DModel, UNet2DModel

    from mmd_ddm.pretrained.edm2_unet import EDM2UNet2DModel
    from mmd_ddm.pretrained.edm_unet import EDMUNet2DModel
    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel
    from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel

    if "num_embeds_ada_norm" in config:
        return DiTTransformer2DModel.from_config(dict(config)).eval()
    build: type[UNet2DModel] = MultiHeadUNet2DModel if "num_attention_heads" in config else UNet2DModel
    if "preconditioning" in config:
        build = EDMUNet2DModel
    elif "concat_balance" in config:
        build = EDM2UNet2DModel
    elif "flow_timesteps" in config:
        build = FlowUNet2DModel
    return build(**config).eval()


def unet_shapes(config: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a config's network, by name."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build_unet(config).state_dict().items()}


def scheduler_config(architecture: Architecture, untold: Untold, scale: float = 1.0) -> dict[str, object]:
    """The config of the model's own DDPM scheduler, the ends of the linear schedule being 1e-4 and 0.02 times a scale.

    Raises:
        UserError: the outputs are neither the image's channels nor twice as many.
    """
    made, given = architecture.out_channels, architecture.in_channels
    if made not in (given, 2 * given):
        supported = "supported are as many, or twice as many where the variance is learned"
        raise UserError(f"the network makes {made} channels of {given}; {supported}")
    return {
        "num_train_timesteps": untold.length,
        "beta_schedule": "squaredcos_cap_v2" if untold.beta_schedule == "cosine" else "linear",
        "beta_start": scale * 1e-4,
        "beta_end": scale * 0.02,
        "prediction_type": untold.prediction_type,
        "variance_type": "learned_range" if made != given else untold.variance_type or "fixed_large",
    }
