"""The checkpoints of Dhariwal & Nichol 2021 (guided-diffusion, ADM): LSUN and ImageNet, 64 to 256 pixels.

Those of ImageNet are class-conditional, but for one of 256 pixels. Attention is at 32 x 32, 16 x 16 and 8 x 8, in heads
of 64 channels, and residual blocks resample. Not in the file are
the width of a head (ImageNet 128 has 4 heads instead), the order of queries, keys and values (ImageNet 64 has all
queries first), and the noise schedule (ImageNet 64: cosine). T is 1000. Models of 512 pixels, whose time embedding is
wider than a `UNet2DModel`'s, are refused.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from torch import Tensor

from mmd_ddm.pretrained.formats.architecture import Converted, Untold, scheduler_config, unet_shapes
from mmd_ddm.pretrained.formats.ledger import Ledger
from mmd_ddm.pretrained.formats.numbered_unet import (
    SIGN,
    architecture,
    blocks_before_resampling,
    carry_over,
    settings,
)

NAME = "guided-diffusion"
DEFAULTS = Untold(head_width=64)
_FINEST_ATTENTION = 32  # side of the largest maps with attention


def recognises(names: Container[str]) -> bool:
    """Whether tensors of these names are of the format."""
    return SIGN in names and blocks_before_resampling(names) > 0


def convert(tensors: Mapping[str, Tensor], untold: Untold = DEFAULTS) -> Converted:
    """Convert a state dict in the names of the format.

    Raises:
        UserError: it is of another architecture (names the first tensor in the way), or what is told does not fit.
    """
    ledger = Ledger(tensors, NAME)
    found = replace(architecture(ledger), finest_attention=_FINEST_ATTENTION)
    config = settings(ledger, found, untold)
    carry_over(ledger, found, untold)
    return Converted(config, ledger.close(unet_shapes(config)), scheduler_config(found, untold))
