"""Images prepared for a published network, by a line of the table of `preprocessing`; all of it is differentiable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmd_ddm.features.published.preprocessing import Preprocessing

_WHITE = 255.0


def prepare(images: Tensor, how: Preprocessing) -> Tensor:
    """Preprocess N x C x H x W images in [-1, 1], C = 1 (repeated to 3) or 3, to N x 3 x S x S of the same dtype.

    Raises:
        ValueError: If the images have another number of channels.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"Images must be N x 1 x H x W or N x 3 x H x W, not of shape {tuple(images.shape)}.")
    pixels = _resized(_levels(images), how)
    if how.crop is not None:
        top, left = (round((side - how.crop) / 2) for side in pixels.shape[2:])
        pixels = pixels[:, :, top : top + how.crop, left : left + how.crop]
    if how.clamp:
        pixels = pixels.clamp(0, _WHITE)
    mean, std = (pixels.new_tensor([_WHITE * part for part in each]).view(3, 1, 1) for each in (how.mean, how.std))
    prepared: Tensor = (pixels - mean) / std  # one grey channel becomes three here
    return prepared


class Prepared(nn.Module):
    """A published network with its preprocessing, in the weights' precision whatever the images' is."""

    def __init__(self, how: Preprocessing, body: nn.Module) -> None:
        super().__init__()
        self.how, self.body = how, body

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D features of N x C x H x W images in [-1, 1]."""
        dtype = next(self.body.parameters()).dtype
        with torch.autocast(images.device.type, enabled=False):  # a surrounding one is about the diffusion model
            features: Tensor = self.body(prepare(images.to(dtype), self.how))
        return features


def _levels(images: Tensor) -> Tensor:
    """Bring images from [-1, 1] to 0..255, and 8-bit ones exactly to the whole numbers they were.

    Deep networks make a hundred times more of the few roundings on the way there and back. The gradient is as without.
    """
    levels = (images + 1) * (_WHITE / 2)
    off = (levels.round() - levels).detach()
    return levels + off.where(off.abs() < 4 * _WHITE * torch.finfo(images.dtype).eps, torch.zeros_like(off))


def _resized(pixels: Tensor, how: Preprocessing) -> Tensor:
    size = (how.size, how.size)
    if how.resize == "tensorflow":
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(pixels, size=size, align_corners=False)
        return resized
    if how.crop is not None:
        height, width = pixels.shape[2:]
        short = min(height, width)
        size = (int(how.size * height / short), int(how.size * width / short))  # whole pixels, as torchvision counts
    if tuple(pixels.shape[2:]) == size:
        return pixels
    return nn.functional.interpolate(pixels, size, mode=how.resize, align_corners=False, antialias=how.antialias)
