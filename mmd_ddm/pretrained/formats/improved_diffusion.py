"""The checkpoints of Nichol & Dhariwal 2021 (improved-diffusion): CIFAR-10, LSUN, ImageNet 64 (also conditional).

The channels of queries, keys and values are ordered by head first. The network is given the time t * 1000 / T, a
fraction for T = 4000; diffusers only passes whole timesteps, so its time embedding becomes a table of T rows. Number of
heads, noise schedule and T are not in the file: the defaults are those of CIFAR-10 and ImageNet 64, LSUN has 1 head,
the linear schedule and T = 1000.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import torch
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

NAME = "improved-diffusion"
DEFAULTS = Untold(heads=4, beta_schedule="cosine", length=4000)
_CLOCK = 1000  # the time that the network is given ends here, whatever T


def recognises(names: Container[str]) -> bool:
    """Whether tensors of these names are of the format."""
    return SIGN in names and not blocks_before_resampling(names)


def convert(tensors: Mapping[str, Tensor], untold: Untold = DEFAULTS) -> Converted:
    """Convert a state dict in the names of the format.

    Raises:
        UserError: it is of another architecture (names the first tensor in the way), or what is told does not fit.
    """
    ledger = Ledger(tensors, NAME)
    found = architecture(ledger)
    config = settings(ledger, found, untold)
    if untold.length != _CLOCK:
        config |= {"time_embedding_type": "learned", "num_train_timesteps": untold.length}
        ledger.put("time_proj.weight", _embedding(untold.length, found.widths[0]), "time_embed")
    carry_over(ledger, found, untold)
    return Converted(config, ledger.close(unet_shapes(config)), scheduler_config(found, untold, _CLOCK / untold.length))


def _embedding(length: int, width: int) -> Tensor:
    """Rows cos(s f_i), sin(s f_i) with s = t * 1000 / T and f_i = 10000^(-i / (width / 2))."""
    from diffusers.models.embeddings import get_timestep_embedding

    times = torch.arange(length, dtype=torch.float32) * (_CLOCK / length)
    rows: Tensor = get_timestep_embedding(times, width, flip_sin_to_cos=True, downscale_freq_shift=0)
    return rows
