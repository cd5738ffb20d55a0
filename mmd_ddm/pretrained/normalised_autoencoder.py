"""An autoencoder whose latents are normalised and whose images are in [0, 1], as one of diffusers' usual kind.

EDM2's networks make s z + b of an autoencoder's latents z, for whose sake its decoder is D((x - b) / s), and D's images
are in [0, 1]. All of that is affine, and so are the first and the last layer of a decoder: its weights can have it, and
what comes out is an `AutoencoderKL` with a scaling factor of 1 and images in [-1, 1] like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.autoencoder_config import AUTOENCODER_KL, autoencoder_at
from mmd_ddm.pretrained.formats.stability_encoder import NormalisedLatents
from mmd_ddm.pretrained.locate import locate
from mmd_ddm.pretrained.weights_files import load_model

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


def load_normalised(source: str, latents: NormalisedLatents) -> AutoencoderKL:
    """Load an `AutoencoderKL` for normalised latents, in float32.

    Args:
        source: its folder or hub id, or that of a pipeline that has it.
        latents: what the network makes.

    Raises:
        UserError: it cannot be had, is of another class, or has other latents.
    """
    from diffusers import AutoencoderKL

    try:
        found = autoencoder_at(locate(source))
    except UserError as error:
        raise UserError(f"--autoencoder: {error}") from None
    if (kind := found.config["_class_name"]) != AUTOENCODER_KL:
        raise UserError(f"--autoencoder {source} is a {kind}; it must be an {AUTOENCODER_KL} as {latents.autoencoder}")
    autoencoder = load_model(AutoencoderKL, found.config, found.part, "autoencoder")
    has, wanted = autoencoder.config.latent_channels, len(latents.scale)
    if has != wanted:
        raise UserError(f"--autoencoder {source} has latents of {has} channels, and the network makes {wanted}")
    if autoencoder.post_quant_conv is None or autoencoder.quant_conv is None:
        raise UserError(f"--autoencoder {source} has no quant_conv and post_quant_conv, as {latents.autoencoder} has")
    normalise(autoencoder, torch.tensor(latents.scale), torch.tensor(latents.bias))
    return autoencoder


@torch.no_grad()
def normalise(autoencoder: AutoencoderKL, scale: torch.Tensor, bias: torch.Tensor) -> None:
    """Change an autoencoder in place: latents s z + b in place of z, and decoded images in [-1, 1], not [0, 1].

    With W and c of the decoder's first layer: W' = W diag(1 / s), c' = c - W (b / s); of its last, which makes images:
    2 W and 2 c - 1. Of the encoder's last layer the rows of the mean become diag(s) W and s c + b, and the logarithms
    of the variance rise by 2 log s. The encoder is still given images in [0, 1]: at their border, where its first
    layer sees zeros, no weights can make up for another range.

    Args:
        autoencoder: with layers `quant_conv` and `post_quant_conv`.
        scale: s (C,), above 0.
        bias: b (C,).
    """
    first, last, encoding = autoencoder.post_quant_conv, autoencoder.decoder.conv_out, autoencoder.quant_conv
    weight, scale, bias = first.weight.double().flatten(1), scale.double(), bias.double()
    _set(first, weight / scale, first.bias - weight @ (bias / scale))
    _set(last, 2 * last.weight, 2 * last.bias - 1)
    channels, rows = len(scale), torch.cat([scale, torch.ones_like(scale)])
    shift = torch.cat([bias, 2 * scale.log()])
    assert encoding.out_channels == 2 * channels
    _set(encoding, rows[:, None] * encoding.weight.flatten(1), rows * encoding.bias + shift)
    autoencoder.register_to_config(scaling_factor=1.0)


def _set(layer: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> None:
    assert layer.bias is not None
    layer.weight.copy_(weight.view_as(layer.weight))
    layer.bias.copy_(bias)
