"""Random changes of a colour picture that leave what it shows as it was, as in SimCLR (arXiv 2002.05709, App. A)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601


def shift(images: Tensor, pixels: int) -> Tensor:
    """Shift each image by whole pixels, up to `pixels` along each axis; what comes in mirrors the border."""
    count, channels, height, width = images.shape
    padded = nn.functional.pad(images, (pixels,) * 4, mode="reflect")
    down, right = (torch.randint(2 * pixels + 1, (count, 1, 1, 1)) for _ in range(2))
    rows = (torch.arange(height).view(1, 1, -1, 1) + down).to(images.device)
    columns = (torch.arange(width) + right).to(images.device)
    of_image = torch.arange(count, device=images.device).view(-1, 1, 1, 1)
    of_channel = torch.arange(channels, device=images.device).view(1, -1, 1, 1)
    return padded[of_image, of_channel, rows, columns]


def crop(images: Tensor, smallest: float) -> Tensor:
    """Cut a random part out of each image and enlarge it, bilinearly, to the image's size.

    The part's area is uniform between `smallest` and 1 of the image's, the logarithm of its aspect ratio within that
    of 3/4 and 4/3, its place uniform among those within the image.
    """
    count = len(images)
    area = smallest + (1 - smallest) * torch.rand(count)
    aspect = (4 / 3) ** (2 * torch.rand(count) - 1)
    across, along = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    none = torch.zeros(count)
    x, y = (1 - across) * (2 * torch.rand(count) - 1), (1 - along) * (2 * torch.rand(count) - 1)
    rows = torch.stack([across, none, x, none, along, y], dim=1).view(-1, 2, 3).to(images.device)
    grid = nn.functional.affine_grid(rows, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def jitter(images: Tensor, strength: float, probability: float) -> Tensor:
    """Change brightness, contrast and colours of each image in [-1, 1] at random, with a probability; unclipped.

    Brightness is multiplied, contrast (about the image's mean) and saturation (about each pixel's grey) likewise, by
    factors within 1 +- `strength`; colours are then multiplied by factors within 1 +- `strength` / 4, one a channel.
    """
    count, channels = images.shape[:2]
    brightness, contrast, saturation = (_factor((count, 1, 1, 1), strength, images) for _ in range(3))
    changed = (images + 1) * brightness - 1
    mean = changed.mean((1, 2, 3), keepdim=True)
    changed = mean + (changed - mean) * contrast
    if channels == len(_LUMINANCE):
        grey = luminance(changed)
        changed = grey + (changed - grey) * saturation
    changed = (changed + 1) * _factor((count, channels, 1, 1), strength / 4, images) - 1
    return _sometimes(changed, images, probability)


def without_colour(images: Tensor, probability: float) -> Tensor:
    """Make each image grey with a probability; images of one channel stay as they are."""
    if images.shape[1] != len(_LUMINANCE):
        return images
    return _sometimes(luminance(images).expand_as(images), images, probability)


def blur(images: Tensor, probability: float) -> Tensor:
    """Blur each image with a probability: a binomial filter of 3 x 3 pixels, of which a random part is taken."""
    weights = torch.tensor([0.25, 0.5, 0.25], device=images.device)
    kernel = weights.outer(weights).expand(images.shape[1], 1, 3, 3)
    padded = nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    blurred = nn.functional.conv2d(padded, kernel, groups=images.shape[1])
    part = torch.rand(len(images), 1, 1, 1).to(images.device)
    return _sometimes(images.lerp(blurred, part), images, probability)


def luminance(images: Tensor) -> Tensor:
    """Return the N x 1 x H x W grey images of N x 3 x H x W ones: 0.299 R + 0.587 G + 0.114 B."""
    weights = torch.tensor(_LUMINANCE, device=images.device).view(1, -1, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _factor(shape: tuple[int, ...], strength: float, images: Tensor) -> Tensor:
    return (1 + (2 * torch.rand(shape) - 1) * strength).to(images.device)


def _sometimes(changed: Tensor, images: Tensor, probability: float) -> Tensor:
    chosen = (torch.rand(len(images), 1, 1, 1) < probability).to(images.device)
    return torch.where(chosen, changed, images)
