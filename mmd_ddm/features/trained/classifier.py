"""Features learned with labels: the penultimate layer of a small residual classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GROUPS = 8


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.GroupNorm(_GROUPS, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        changed: Tensor = images + self.body(images)
        return changed


def classifier_network(image_shape: tuple[int, int, int], width: int, dim: int) -> nn.Sequential:
    """Build the untrained network: 3 x 3 convolutions, halved down to 2 x 2, then one dense layer.

    Args:
        image_shape: Channels, height and width of an image; height and width a power of two, at least 4.
        width: Channels at the image's resolution, a multiple of 8; each halving adds as many, up to 4 widths.
        dim: Number of features D.

    Returns:
        A network from N x C x H x W images to N x D features; smooth, and without statistics of the batch.
    """
    channels, resolution, _ = image_shape
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
    here = width
    while resolution > 2:
        wider = min(here + width, 4 * width)
        layers += [nn.GroupNorm(_GROUPS, here), nn.SiLU()]
        layers += [nn.Conv2d(here, wider, 3, stride=2, padding=1), _Residual(wider)]
        here, resolution = wider, resolution // 2
    layers += [nn.GroupNorm(_GROUPS, here), nn.SiLU(), nn.Flatten(), nn.Linear(here * resolution**2, dim)]
    return nn.Sequential(*layers, nn.SiLU())


def classifier_loss(features: Tensor, head: nn.Module, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of the labels, the head being the last layer.

    Args:
        features: N x D.
        head: Maps features to one logit for each class.
        labels: N class numbers.

    Returns:
        The loss, a scalar.
    """
    return nn.functional.cross_entropy(head(features), labels)


@torch.no_grad()
def accuracy(features: Tensor, head: nn.Module, labels: Tensor) -> float:
    """Return the fraction of images whose largest logit is that of their label.

    Args:
        features: N x D.
        head: Maps features to one logit for each class.
        labels: N class numbers.

    Returns:
        The accuracy, in [0, 1].
    """
    return float((head(features).argmax(1) == labels).double().mean())
