"""Spaces without training, and the sizes that their features are brought to."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.untrained.listing import check_untrained
from mmd_ddm.features.untrained.patches import Patches
from mmd_ddm.features.untrained.pixels import Pixels
from mmd_ddm.features.untrained.random_conv import RandomConv
from mmd_ddm.features.untrained.scattering import Scattering
from mmd_ddm.features.untrained.spectrum import Spectrum
from mmd_ddm.features.untrained.statistics import Statistics
from mmd_ddm.features.untrained.synthetic import synthetic_images

STATISTICS: dict[str, Callable[[tuple[int, int, int]], Statistics]] = {
    "scattering": Scattering,
    "random_conv": RandomConv,
    "patches": Patches,
    "spectrum": Spectrum,
    "pixels": Pixels,
}
_STEPS = 256  # to which a mean is rounded, a deviation


def untrained_dim(name: str, image_shape: tuple[int, int, int]) -> int:
    """Return the number of features of a space without training, for images that `check_untrained` accepts."""
    return sum(STATISTICS[name](image_shape).groups)


def load_untrained(name: str, image_shape: tuple[int, int, int]) -> FeatureSpace:
    """Build a space without training for images of a shape, on the processor.

    Each feature is centred, scaled to a mean square of 1 over `synthetic_images` of the shape, and weighted so that
    each of the network's groups counts alike and the mean square of all features stays 1. Centred, because the cubic
    kernel is no function of differences: around a large common mean, it would be a mean of features along that one
    direction and little else.

    Raises:
        UserError: As `check_untrained`.
    """
    check_untrained(name, image_shape)
    network = STATISTICS[name](image_shape)
    features = _features(network.double(), synthetic_images(image_shape))
    # rounded, so that sums in another order, on another machine, give the same space and not a neighbour of it
    deviation = _rounded(features.std(0, correction=0), 3)
    centre = (features.mean(0) / deviation * _STEPS).round() / _STEPS * deviation
    weights = _weights((features - centre) / deviation, network.groups)
    shape = " x ".join(map(str, image_shape))
    dtype = torch.get_default_dtype()
    space = Centred(network.to(dtype), centre.to(dtype))
    return FeatureSpace(name, space, (weights / deviation).to(dtype), image_shape, f"none, made for {shape}")


class Centred(nn.Module):
    """Statistics without their means, in the filters' precision whatever the images' is."""

    centre: Tensor

    def __init__(self, statistics: Statistics, centre: Tensor) -> None:
        super().__init__()
        self.statistics = statistics
        self.register_buffer("centre", centre)

    def forward(self, images: Tensor) -> Tensor:
        """Return N x D features of N x C x H x W images in [-1, 1]."""
        with torch.autocast(images.device.type, enabled=False):  # a surrounding one is about the diffusion model
            features: Tensor = self.statistics(images.to(self.centre.dtype)) - self.centre
        return features


@torch.no_grad()
def _features(network: Statistics, images: Tensor) -> Tensor:
    pixels = 2**14
    batch = max(1, pixels // images[0, 0].numel())
    return torch.cat([network(part) for part in images.split(batch)])


def _weights(features: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Return D factors that let the inner products of two images in each group vary alike, of mean square 1."""
    products = [part @ part.T for part in features.split(groups, dim=1)]
    pairs = len(features) * (len(features) - 1)
    spreads = torch.stack([(each.square().sum() - each.diagonal().square().sum()) / pairs for each in products])
    sizes = torch.tensor(groups)
    weights = (spreads**-0.25).repeat_interleave(sizes)
    return _rounded(weights / weights.square().mean().sqrt(), 3)


def _rounded(x: Tensor, digits: int) -> Tensor:
    unit = 10.0 ** (x.log10().floor() - digits + 1)
    return (x / unit).round() * unit
