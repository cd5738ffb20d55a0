"""From the autoencoder in a latent model's folder to a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.diffusion.decoder import ImageDecoder
from mmd_ddm.precision import FP32
from mmd_ddm.pretrained.autoencoder_config import AUTOENCODER_KL, VQ_MODEL, find_autoencoder
from mmd_ddm.pretrained.weights_files import load_model

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


def load_decoder(folder: Path, precision: str = FP32, compiled: bool = False) -> ImageDecoder | None:
    """Load the decoder of a latent model, frozen, with float32 weights, on the CPU; None: the model has none.

    Raises:
        UserError: its autoencoder is neither an `AutoencoderKL` nor a `VQModel`, damaged, or leaves its scaling open.
    """
    found = find_autoencoder(folder)
    if found is None:
        return None
    autoencoder = load_model(_autoencoder_class(found.config), found.config, found.part, "autoencoder")
    return ImageDecoder(autoencoder, autoencoder.config.scaling_factor, precision, compiled)


def build_decoder(config: Mapping[str, object]) -> ImageDecoder:
    """Build the decoder of an autoencoder's config with random weights, on the default device."""
    autoencoder = _autoencoder_class(config).from_config(config)
    return ImageDecoder(autoencoder, autoencoder.config.scaling_factor)


def _autoencoder_class(config: Mapping[str, object]) -> type[AutoencoderKL | VQModel]:
    from diffusers import AutoencoderKL, VQModel

    known: dict[str, type[AutoencoderKL | VQModel]] = {AUTOENCODER_KL: AutoencoderKL, VQ_MODEL: VQModel}
    return known[str(config["_class_name"])]
