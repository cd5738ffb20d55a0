"""Features learned with labels: the penultimate layer of a small residual classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GROUPS = 8


class Residual(nn.Module):
    """Layers in a row whose outcome is added to their input."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Return x + body(x)."""
        changed: Tensor = images + self.body(images)
        return changed


def classifier_network(image_shape: tuple[int, int, int], width: int, dim: int) -> nn.Sequential:
    """Build the untrained network: 3 x 3 convolutions, halved down to 2 x 2, then one dense layer.

    Args:
        image_shape: Channels, height and width of an image; height and width a power of two, at least 4.
        width: Channels at the image's resolution, a multiple of 8; each halving adds as many, up to 4 widths.
        dim: Number of features D.

    Returns:
        A smooth network without statistics of the batch.
    """
    channels, resolution, _ = image_shape
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
    here = width
    while resolution > 2:
        wider = min(here + width, 4 * width)
        layers += [nn.GroupNorm(_GROUPS, here), nn.SiLU(), nn.Conv2d(here, wider, 3, stride=2, padding=1)]
        layers += [Residual(nn.GroupNorm(_GROUPS, wider), nn.SiLU(), nn.Conv2d(wider, wider, 3, padding=1))]
        here, resolution = wider, resolution // 2
    layers += [nn.GroupNorm(_GROUPS, here), nn.SiLU(), nn.Flatten(), nn.Linear(here * resolution**2, dim)]
    return nn.Sequential(*layers, nn.SiLU())


@torch.no_grad()
def accuracy(features: Tensor, head: nn.Module, labels: Tensor) -> float:
    """Return the fraction of the N images whose largest logit, which the head gives, is that of their label."""
    return float((head(features).argmax(1) == labels).double().mean())
