"""What NVlabs' pickles of EDM2 networks say of the autoencoder whose latents the network makes.

The network makes scale z + bias of the latents z of an autoencoder of Stable Diffusion, a number of each for every
channel, and that autoencoder is given images in [0, 1] (`StabilityVAEEncoder` of NVlabs' code).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.edm_pickle import Persistent, numbers

KIND = "StabilityVAEEncoder"


@dataclass(frozen=True)
class NormalisedLatents:
    """Latents scale z + bias of an autoencoder's z, which is given images in [0, 1] and makes such.

    Args:
        autoencoder: its name on the hub.
        scale: of each channel, above 0.
        bias: of each channel.
    """

    autoencoder: str
    scale: tuple[float, ...]
    bias: tuple[float, ...]


def read_latents(encoder: Persistent, channels: int, path: Path) -> NormalisedLatents:
    """Read what a pickle's encoder says.

    Args:
        encoder: of class `KIND`.
        channels: that the network makes.
        path: of the pickle, for messages.

    Raises:
        UserError: its name or its numbers are missing or of no use.
    """
    name, scale, bias = encoder.state.get("vae_name"), *(numbers(encoder.state.get(of)) for of in ("scale", "bias"))
    if not isinstance(name, str) or scale is None or bias is None:
        raise UserError(f"the {KIND} in {path} has no vae_name, scale and bias of float32 numbers")
    if not len(scale) == len(bias) == channels:
        raise UserError(f"the {KIND} in {path} scales {len(scale)} channels, and the network makes {channels}")
    if not all(math.isfinite(each) for each in scale + bias) or min(scale) <= 0:
        raise UserError(f"the {KIND} in {path} has a scale of {scale} and a bias of {bias}, which nothing can undo")
    return NormalisedLatents(name, scale, bias)
