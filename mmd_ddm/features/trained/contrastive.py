"""Features learned without labels, by telling images apart (SimCLR, arXiv 2002.05709)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmd_ddm.features.trained.classifier import Residual

_DEPTH = 3
_TEMPERATURE = 0.1


def _mix(width: int) -> Residual:
    """Build a depthwise convolution over patches, then a two-layer network over channels, added to the input."""
    over_patches = nn.Conv2d(width, width, 3, padding=1, groups=width)
    over_channels = nn.Conv2d(width, 2 * width, 1), nn.GELU(), nn.Conv2d(2 * width, width, 1)
    return Residual(over_patches, nn.GroupNorm(1, width), *over_channels)


def contrastive_network(image_shape: tuple[int, int, int], width: int, dim: int) -> nn.Sequential:
    """Build the untrained network: patches, mixed over space and channels, averaged over space.

    Args:
        image_shape: Channels, height and width of an image; height and width multiples of the patch size,
            which is an eighth of the height, at least 2 pixels.
        width: Numbers each patch is described by.
        dim: Number of features D.

    Returns:
        A smooth network without statistics of the batch.
    """
    channels, resolution, _ = image_shape
    patch = max(2, resolution // 8)
    return nn.Sequential(
        nn.Conv2d(channels, width, patch, stride=patch),
        *(_mix(width) for _ in range(_DEPTH)),
        *(nn.GroupNorm(1, width), nn.Conv2d(width, dim, 1), nn.GELU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def projection_head(dim: int) -> nn.Sequential:
    """Build the network between features and loss, which is thrown away after training."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim // 2))


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return the normalised temperature-scaled cross-entropy of two views (arXiv 2002.05709, Eq. 1).

    l_ij = -log( exp(cos(z_i, z_j) / tau) / sum over k != i of exp(cos(z_i, z_k) / tau) ), tau = 0.1, averaged
    over both orders of each pair of views i, j of one image; log(2 N - 1) where all projections are equal.

    Args:
        first: N x P projections of one view of N images.
        second: N x P projections of another view of the same images.
    """
    count = len(first)
    views = nn.functional.normalize(torch.cat([first, second]), dim=1)
    logits = (views @ views.T / _TEMPERATURE).fill_diagonal_(-torch.inf)
    partners = torch.arange(2 * count, device=first.device).roll(count)
    return nn.functional.cross_entropy(logits, partners)
