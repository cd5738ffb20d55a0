"""What tells the content of a base model from any other, wherever its folder lies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from mmd_ddm.files import sha256_of
from mmd_ddm.pretrained.autoencoder_config import find_autoencoder
from mmd_ddm.pretrained.configs import network_part, scheduler_config, unet_config

_OF_ITS_FILE = ("_diffusers_version", "_name_or_path")  # say nothing of the model


def model_fingerprint(folder: Path) -> str:
    """Return the SHA-256 of a model folder's weights and of the configs of its networks and scheduler.

    Raises:
        UserError: The folder is no diffusers pipeline.
    """
    networks, read = [network_part(folder)], [unet_config(folder), scheduler_config(folder)]
    if (autoencoder := find_autoencoder(folder)) is not None:
        networks, read = [*networks, autoencoder.part], [*read, dict(autoencoder.config)]
    configs = [{name: value for name, value in config.items() if name not in _OF_ITS_FILE} for config in read]
    files = [file for network in networks for file in sorted(network.glob("diffusion_pytorch_model*"))]
    weights = [[file.name, sha256_of(file)] for file in files if file.is_file()]
    return hashlib.sha256(json.dumps([configs, weights], sort_keys=True).encode()).hexdigest()
