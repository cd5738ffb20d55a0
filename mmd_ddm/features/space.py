"""What a feature space is (arXiv 2301.07969, Sec. III-C)."""

from __future__ import annotations

import hashlib
from functools import cached_property

import torch
from torch import Tensor, nn


class FeatureSpace(nn.Module):
    """A frozen network phi from images to feature vectors; differentiable in the image.

    Args:
        name: What users call it.
        network: Maps images, N x C x H x W in [-1, 1], to N x D numbers.
        scale: D factors by which the network's outputs are multiplied.
        image_shape: Channels, height and width of the images it takes; None where it takes any.
        preprocessing: What the network does to images before its layers, in words that say all of it.
    """

    scale: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        scale: Tensor,
        image_shape: tuple[int, int, int] | None,
        preprocessing: str = "none",
    ) -> None:
        super().__init__()
        self.name, self.network, self.dim = name, network, len(scale)
        self.image_shape, self.preprocessing = image_shape, preprocessing
        self.register_buffer("scale", scale)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FeatureSpace:
        """Stay in evaluation mode, whatever the mode asked for: a feature space never changes."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the N x D features of N x C x H x W images in [-1, 1].

        Raises:
            ValueError: If the images don't have the shape that the space was made for.
        """
        if self.image_shape is not None and tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(f"{self.name!r} takes {self.image_shape} images, not {tuple(images.shape[1:])}.")
        features: Tensor = self.network(images) * self.scale
        return features

    @cached_property
    def identity(self) -> str:
        """SHA-256 of name, preprocessing and weights: equal for equal functions, in every process.

        It is computed when first asked for, and describes the space as it is then.
        """
        digest = hashlib.sha256(f"{self.name}\n{self.preprocessing}\n".encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


@torch.no_grad()
def features_of(space: FeatureSpace, images: Tensor, batch: int = 512) -> Tensor:
    """Return the M x D features of M x C x H x W images in [-1, 1], computed `batch` at a time."""
    return torch.cat([space(part) for part in images.split(batch)])
