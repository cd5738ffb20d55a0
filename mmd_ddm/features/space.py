"""What a feature space is, and the ones that can be had by name (arXiv 2301.07969, Sec. III-C)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from mmd_ddm.errors import UserError

SHIPPED = Path(__file__).parent / "weights"


class FeatureSpace(nn.Module):
    """A frozen network phi from images to feature vectors; differentiable in the image.

    Args:
        name: What users call it.
        network: Maps images, N x C x H x W in [-1, 1], to N x D numbers.
        scale: D factors by which the network's outputs are multiplied.
        image_shape: Channels, height and width of the images it takes; None where it takes any.
    """

    scale: Tensor

    def __init__(self, name: str, network: nn.Module, scale: Tensor, image_shape: tuple[int, int, int] | None) -> None:
        super().__init__()
        self.name = name
        self.dim = len(scale)
        self.image_shape = image_shape
        self.network = network
        self.register_buffer("scale", scale)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FeatureSpace:
        """Stay in evaluation mode, whatever the mode asked for: a feature space never changes."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images.

        Args:
            images: N x C x H x W, in [-1, 1].

        Returns:
            N x D features.

        Raises:
            ValueError: If the images don't have the shape that the space was made for.
        """
        if self.image_shape is not None and tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(f"{self.name!r} takes {self.image_shape} images, not {tuple(images.shape[1:])}.")
        features: Tensor = self.network(images) * self.scale
        return features


def available_feature_spaces(dataset: str) -> tuple[str, ...]:
    """Return the names of the feature spaces that can be used for a data set.

    Args:
        dataset: Name of a data set.

    Returns:
        The names, in alphabetical order.
    """
    from mmd_ddm.features.trained import trained_names

    return trained_names(SHIPPED, dataset)


def load_feature_space(name: str, dataset: str) -> FeatureSpace:
    """Load a feature space.

    Args:
        name: One of `available_feature_spaces(dataset)`.
        dataset: Name of the data set whose images it will be given.

    Returns:
        The feature space, frozen, in evaluation mode, on the processor.

    Raises:
        UserError: If no feature space of that name fits the data set.
    """
    from mmd_ddm.features.trained import load_trained, weights_file

    known = available_feature_spaces(dataset)
    if name not in known:
        choice = f"choose one of: {', '.join(known)}" if known else "there is none for that data set"
        raise UserError(f"There is no feature space {name!r} for the data set {dataset!r}; {choice}.")
    return load_trained(weights_file(SHIPPED, dataset, name))


@torch.no_grad()
def features_of(space: FeatureSpace, images: Tensor, batch: int = 512) -> Tensor:
    """Return the features of many images, computed `batch` at a time.

    Args:
        space: Feature space.
        images: M x C x H x W, in [-1, 1].
        batch: Images at a time.

    Returns:
        M x D features, on the images' device.
    """
    return torch.cat([space(part) for part in images.split(batch)])
