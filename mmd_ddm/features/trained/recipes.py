"""How each feature space is trained where nothing else is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from mmd_ddm.features.trained.weights import DIGITS, PICTURES

_SMALLEST_PICTURE = 16  # pixels


class Settings(TypedDict, total=False):
    """What may be asked for in place of what a recipe says."""

    updates: int
    batch: int
    learning_rate: float
    ema: float
    width: int
    dim: int


@dataclass(frozen=True)
class Recipe:
    """A way of training.

    Args:
        updates: Optimizer updates, at least 1.
        batch: Images in each update, at least 2.
        learning_rate: At the start, above 0; of Adam for digits, of Muon for pictures.
        ema: Decay of the moving average of the weights, in [0, 1).
        width: Width of the network, a multiple of 8.
        dim: Number of features D, at least 2.
    """

    updates: int
    batch: int
    learning_rate: float
    ema: float
    width: int
    dim: int


# of digits: what the shipped spaces were made with; of pictures: about 20 minutes of one thread at 16 x 16
RECIPES = {
    (DIGITS, "classifier"): Recipe(1000, 256, 2e-3, 0.99, 16, 96),
    (DIGITS, "contrastive"): Recipe(1000, 256, 2e-3, 0.99, 64, 96),
    (PICTURES, "classifier"): Recipe(5000, 256, 0.06, 0.98, 48, 192),
    (PICTURES, "contrastive"): Recipe(5000, 128, 0.05, 0.98, 48, 192),
}


def architecture_for(image_shape: tuple[int, int, int]) -> str:
    """Return the network that images of a shape need: drawings below 16 pixels another one than pictures."""
    return PICTURES if image_shape[1] >= _SMALLEST_PICTURE else DIGITS
