"""What a checkpoint says of its network, what it does not say, and what comes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    from diffusers import UNet2DModel

FINEST_ATTENTION = 16  # side of the largest maps with attention in every published model of these families

_GROUPS = 32  # of the normalisation


@dataclass(frozen=True)
class Untold:
    """What the tensors of a checkpoint do not tell; each format has the values of its published models.

    Args:
        resolution: side of the images; none: by the convention that attention begins at 16 x 16 (Ho et al. 2020,
            Appendix B).
        prediction_type: of the network, as diffusers names it.
        variance_type: of DDPM, where the network has not learned it: `fixed_small` or `fixed_large`.
        dropout: of the residual blocks in training, 0 to below 1.
        heads: of each attention layer.
        beta_schedule: `linear` (Ho et al. 2020) or `cosine` (Nichol & Dhariwal 2021, Equation 17).
        length: T, 1 or larger.
    """

    resolution: int | None = None
    prediction_type: str = "epsilon"
    variance_type: str = "fixed_large"
    dropout: float = 0.0
    heads: int = 1
    beta_schedule: str = "linear"
    length: int = 1000


@dataclass(frozen=True)
class Architecture:
    """What the tensors tell.

    Args:
        in_channels: of an image.
        out_channels: as many, or twice as many where the variance is learned.
        widths: of the levels, from the image's resolution downwards.
        blocks: residual blocks of a level on the way down.
        attention: whether a level has attention.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[bool, ...]

    def resolution(self, asked: int | None) -> int:
        """Side of the images.

        Args:
            asked: by the user, or none.

        Raises:
            UserError: it is not asked for and there is no attention to tell, or the levels cannot halve it.
        """
        if asked is None and not any(self.attention):
            raise UserError("the checkpoint does not tell the resolution of its images; give it with --resolution")
        found = FINEST_ATTENTION << self.attention.index(True) if asked is None else asked
        step = 2 ** (len(self.widths) - 1)
        if found < step or found % step:
            raise UserError(f"resolution is {found}; this network's {len(self.widths)} levels need multiples of {step}")
        return found

    def attention_widths(self) -> set[int]:
        """Widths of the attention layers, that of the middle among them."""
        return {self.widths[-1], *(width for width, has in zip(self.widths, self.attention, strict=True) if has)}

    def config(self, untold: Untold) -> dict[str, object]:
        """The part of a `UNet2DModel`'s config that does not depend on the format.

        Raises:
            UserError: the resolution is unknown or does not fit, or a width has no groups of normalisation.
        """
        if odd := [width for width in self.widths if width < 1 or width % _GROUPS]:
            raise UserError(f"the network has {odd[0]} channels; those of this format are multiples of {_GROUPS}")
        kinds = ["AttnDownBlock2D" if has else "DownBlock2D" for has in self.attention]
        return {
            "sample_size": self.resolution(untold.resolution),
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.widths,
            "layers_per_block": self.blocks,
            "down_block_types": tuple(kinds),
            "up_block_types": tuple(kind.replace("Down", "Up") for kind in reversed(kinds)),
            "dropout": untold.dropout,
            "norm_num_groups": _GROUPS,
            "act_fn": "silu",
        }


@dataclass(frozen=True)
class Converted:
    """A checkpoint in diffusers' terms.

    Args:
        config: of the U-Net; one with `num_attention_heads` is for `MultiHeadUNet2DModel`.
        weights: its state dict, float32.
        scheduler: config of its `DDPMScheduler`.
    """

    config: dict[str, object]
    weights: dict[str, Tensor]
    scheduler: dict[str, object]


def build_unet(config: Mapping[str, object]) -> UNet2DModel:
    """Build the network of a config in eval mode, with weights drawn at random or, on the meta device, none."""
    from diffusers import UNet2DModel

    from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel

    build: type[UNet2DModel] = MultiHeadUNet2DModel if "num_attention_heads" in config else UNet2DModel
    return build(**config).eval()


def unet_shapes(config: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a config's network, by name."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build_unet(config).state_dict().items()}


def scheduler_config(architecture: Architecture, untold: Untold, scale: float = 1.0) -> dict[str, object]:
    """The config of the model's own DDPM scheduler.

    Args:
        architecture: tells whether the variance is learned.
        untold: prediction type, variance type, schedule and length.
        scale: of the linear schedule's ends, 1e-4 and 0.02.

    Raises:
        UserError: the outputs are neither the image's channels nor twice as many.
    """
    learned = architecture.out_channels == 2 * architecture.in_channels
    if not learned and architecture.out_channels != architecture.in_channels:
        raise UserError(
            f"the network makes {architecture.out_channels} channels of {architecture.in_channels}; "
            "supported are as many, or twice as many where the variance is learned"
        )
    return {
        "num_train_timesteps": untold.length,
        "beta_schedule": "squaredcos_cap_v2" if untold.beta_schedule == "cosine" else "linear",
        "beta_start": scale * 1e-4,
        "beta_end": scale * 0.02,
        "prediction_type": untold.prediction_type,
        "variance_type": "learned_range" if learned else untold.variance_type,
    }
