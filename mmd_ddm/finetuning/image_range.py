"""How images leave [-1, 1] inside the loss: feature networks are made for pixels, samples may lie outside."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def into_range(images: Float[Tensor, "N C H W"], how: str) -> Float[Tensor, "N C H W"]:
    """What the feature network sees of images, nominally in [-1, 1].

    `none` leaves them; `clamp` clamps, so that saturated pixels get no gradient (the published code);
    `straight_through` clamps and lets the gradient pass.
    """
    if how == "none":
        return images
    clamped = images.clamp(-1, 1)
    return clamped if how == "clamp" else images + (clamped - images).detach()
