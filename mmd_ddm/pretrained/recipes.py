"""How base models are trained where nothing else is said: what works best for tiny scans and for pictures."""

from __future__ import annotations

from typing import TypedDict

import torch

from mmd_ddm.training import has_bfloat16

_TINY = 8  # pixels; digits' size


class PretrainSettings(TypedDict, total=False):
    """Settings of `pretrain` by name."""

    updates: int
    batch: int
    learning_rate: float
    ema: float
    warmup: int
    clip: float
    precision: str
    dropout: float
    channels: tuple[int, ...]
    prediction: str


def settings_for(resolution: int, device: torch.device, updates: int = 24000) -> PretrainSettings:
    """Return the settings for images of a resolution that differ from the defaults of `pretrain`.

    The number of updates may be another; the warm-up is a part of it.

    Those of pictures were found at 16 x 16: after equally many images a network that predicts v was ten times closer
    to real images, as 20 or 50 evaluations draw them, than one that predicts the noise (README, "Pictures"). The
    network halves the resolution down to 4 x 4 and has 32 channels more at each level.
    """
    if resolution <= _TINY:
        return {}
    levels = max(2, (resolution // 4).bit_length())
    return {
        "updates": updates,
        "batch": 64,
        "learning_rate": 1e-3,
        "ema": 0.9995,
        "warmup": updates // 48,
        "clip": 1.0,
        "precision": "bf16" if has_bfloat16(device) else "fp32",
        "dropout": 0.0,
        "channels": tuple(32 * (level + 1) for level in range(levels)),
        "prediction": "v_prediction",
    }
