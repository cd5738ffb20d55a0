"""What a feature space is, and the ones that can be had by name (arXiv 2301.07969, Sec. III-C)."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from mmd_ddm.errors import UserError
from mmd_ddm.features.weights import FOLDER, WeightsReport

SHIPPED = Path(__file__).parent / "weights"


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
        self.name = name
        self.dim = len(scale)
        self.image_shape = image_shape
        self.preprocessing = preprocessing
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


def available_feature_spaces(dataset: str) -> tuple[str, ...]:
    """Return the names of the feature spaces that can be used for a data set.

    Args:
        dataset: Name of a data set.

    Returns:
        Those that were trained on the data set, shipped or in the folder that MMD_DDM_WEIGHTS names, then the
        published ones, whose weights may still have to be downloaded. Beside them there are open_clip's and timm's
        models by name, `open_clip:MODEL/TAG` and `timm:MODEL`.
    """
    from mmd_ddm.features.listing import PUBLISHED_NAMES
    from mmd_ddm.features.trained import NETWORKS, find_trained

    return (*(name for name in sorted(NETWORKS) if find_trained(dataset, name)), *PUBLISHED_NAMES)


def check_feature_space(name: str, dataset: str) -> None:
    """Refuse a feature space that doesn't exist; no weights are read or downloaded.

    Args:
        name: Name of a feature space.
        dataset: Name of the data set whose images it will be given.

    Raises:
        UserError: If there is no feature space of that name for the data set.
    """
    from mmd_ddm.features.listing import FORMS, check_published, is_published
    from mmd_ddm.features.trained import NETWORKS, find_trained

    if is_published(name):
        check_published(name)
    elif find_trained(dataset, name) is None:
        choices = ", ".join((*available_feature_spaces(dataset), *FORMS))
        train = f", or train it with: mmd-ddm pretrain --dataset {dataset} --what {name} --output DIR, {FOLDER}=DIR"
        raise UserError(
            f"There is no feature space {name!r} for the data set {dataset!r}; choose one of: {choices}"
            f"{train if name in NETWORKS else ''}."
        )


def load_feature_space(name: str, dataset: str, preprocessing: str = "evaluation") -> FeatureSpace:
    """Load a feature space.

    Args:
        name: One of `available_feature_spaces(dataset)`, `open_clip:MODEL/TAG` or `timm:MODEL`.
        dataset: Name of the data set whose images it will be given.
        preprocessing: What is done to images before a published network (see `preprocessing.TABLE`): "evaluation",
            or "published" as in the paper's code. Networks that the project trains need none.

    Returns:
        The feature space, frozen, in evaluation mode, on the processor. Spaces of one published network share its
        weights in memory, so that what is done to one (a move to a device) is done to all; copy before changing.

    Raises:
        UserError: If no feature space of that name fits the data set, its weights are missing or damaged, or it has
            no such preprocessing.
    """
    from mmd_ddm.features.listing import is_published
    from mmd_ddm.features.preprocessing import EVALUATION, check_way
    from mmd_ddm.features.published import load_published
    from mmd_ddm.features.trained import find_trained, load_trained

    if is_published(name):
        return load_published(name, preprocessing)
    check_feature_space(name, dataset)
    check_way(preprocessing)
    if preprocessing != EVALUATION:
        raise UserError(f"{name!r} takes images as they are; use preprocessing {EVALUATION!r}.")
    file = find_trained(dataset, name)
    assert file is not None
    return load_trained(file)


def weights_of(name: str, dataset: str) -> WeightsReport:
    """Say where the weights of a feature space are; nothing is read or downloaded.

    Args:
        name: Name of a feature space.
        dataset: Name of the data set whose images it will be given.

    Returns:
        The file, whether it is there, where it comes from and its size.

    Raises:
        UserError: As `check_feature_space`.
    """
    from mmd_ddm.features.listing import is_published, published_weights
    from mmd_ddm.features.trained import find_trained
    from mmd_ddm.features.weights import report

    check_feature_space(name, dataset)
    if is_published(name):
        return report(published_weights(name))
    file = find_trained(dataset, name)
    assert file is not None
    source = "shipped with mmd-ddm" if file.parent == SHIPPED else "mmd-ddm pretrain"
    return WeightsReport(file, True, source, file.stat().st_size)


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
