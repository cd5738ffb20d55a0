"""How base models are trained where nothing else is said: what works best for tiny scans and for pictures."""

from __future__ import annotations

from typing import TypedDict

from mmd_ddm.precision import BF16, FP32

FLOW = "flow_prediction"  # as diffusers names it
PREDICTIONS = ("epsilon", "v_prediction", FLOW)
PRECISIONS = (FP32, BF16)
SCORINGS, SCORE_IMAGES = 4, 1000  # a twentieth or so of the time that training takes
_TINY = 8  # pixels; digits' size


class PretrainSettings(TypedDict, total=False):
    """Settings of `pretrain` by name."""

    updates: int
    batch: int
    learning_rate: float
    ema: float
    warmup: int
    clip: float | None
    precision: str
    dropout: float
    channels: tuple[int, ...]
    layers: int
    prediction: str


TINY: PretrainSettings = {  # the defaults of `pretrain`: how the model that digits ships with was made
    "updates": 12000,
    "batch": 128,
    "learning_rate": 2e-3,
    "ema": 0.999,
    "warmup": 0,
    "clip": None,
    "precision": FP32,
    "dropout": 0.1,
    "channels": (32, 48),
    "layers": 1,
    "prediction": "epsilon",
}


def settings_for(resolution: int, bfloat16: bool, updates: int = 24000) -> PretrainSettings:
    """Return the settings for images of a resolution that differ from the defaults of `pretrain`.

    The number of updates may be another; the warm-up is a part of it. `bfloat16`: whether the device multiplies such
    numbers itself, see `has_bfloat16`.

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
        "precision": BF16 if bfloat16 else FP32,
        "dropout": 0.0,
        "channels": tuple(32 * (level + 1) for level in range(levels)),
        "prediction": "v_prediction",
    }
