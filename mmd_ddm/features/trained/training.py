"""Training of the two small feature spaces that a data set can ship with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmd_ddm.data.images import ImageSet
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.features.space import FeatureSpace, features_of
from mmd_ddm.features.trained import augment
from mmd_ddm.features.trained.classifier import accuracy
from mmd_ddm.features.trained.contrastive import contrastive_loss, projection_head
from mmd_ddm.features.trained.load import NETWORKS, save_trained, weights_file
from mmd_ddm.training import Recipe, seeded, train

_HELD_OUT = 5  # one image in so many is not trained on, to measure accuracy
_PART = 1024  # images at a time where all are looked at
_WIDTHS = {"classifier": 16, "contrastive": 64}


class _Task(NamedTuple):
    """What one way of training adds to the network: its last layers, its loss, its figures at the end."""

    head: nn.Module
    loss: Callable[[], Tensor]
    figures: Callable[[], dict[str, float]]


def train_feature_space(
    dataset: ImageSet,
    name: str,
    folder: Path | str,
    *,
    updates: int = 1000,
    batch: int = 256,
    learning_rate: float = 2e-3,
    ema: float = 0.99,
    width: int | None = None,
    dim: int = 96,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, float]:
    """Train a feature space from nothing and write it to `<folder>/<dataset>_<name>.safetensors`.

    Each feature is scaled so that its mean square over all real images is 1. The same seed gives the same
    weights on the same machine with the same number of threads.

    Args:
        dataset: Real images, square, their height a power of two of at least 4.
        name: "classifier" (needs labels) or "contrastive" (uses none).
        folder: Where the file goes.
        updates: Optimizer updates, at least 1.
        batch: Images in each update, at least 2.
        learning_rate: Adam's, at the start; falls to zero along half a cosine.
        ema: Decay of the moving average of the weights, in [0, 1); the average is what is saved.
        width: Width of the network, a multiple of 8; None for that of the shipped ones.
        dim: Number of features D.
        seed: Of weights, batches and augmentation.
        device: Torch device to train on.

    Returns:
        "loss" (running mean at the end) and, for "classifier", "accuracy" on the fifth that was not trained on.

    Raises:
        UserError: If the name is unknown, labels are missing, or a setting is out of its range.
        DivergenceError: If the loss stops being finite or a feature dies.
    """
    width = _WIDTHS.get(name, 0) if width is None else width
    settings = {
        "updates": updates, "batch": batch, "learning_rate": learning_rate, "ema": ema, "width": width,
        "dim": dim, "seed": seed,
    }  # fmt: skip
    _check(dataset, name, batch, width, dim)
    with seeded(seed, device):
        network = NETWORKS[name](dataset.image_shape, width, dim).to(device)
        task = (_classify if name == "classifier" else _contrast)(network, dataset, batch, dim, device)
        trained, stage = nn.ModuleList([network, task.head]), f"Training {name} on {dataset.name}"
        loss = train(trained, task.loss, Recipe(updates, learning_rate, ema), stage=stage)
    space = _with_unit_scale(name, network.cpu(), dim, dataset)
    figures = {"loss": loss, **task.figures()}
    record = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, **settings, **figures}
    save_trained(space, width, record, weights_file(Path(folder), dataset.name, name))
    return figures


def _check(dataset: ImageSet, name: str, batch: int, width: int, dim: int) -> None:
    if name not in NETWORKS:
        raise UserError(f"There is no feature space {name!r} to train; choose one of: {', '.join(NETWORKS)}.")
    if name == "classifier" and dataset.labels is None:
        raise UserError(f"{dataset.name!r} has no labels to train a classifier on; train 'contrastive'.")
    _, height, across = dataset.image_shape
    if height != across or height < 4 or height & (height - 1):
        raise UserError(f"Images are {height} x {across}; height and width must be one power of two, 4 or more.")
    if batch < 2 or dim < 2 or width < 8 or width % 8:
        raise UserError(f"batch {batch}, dim {dim}, width {width}: at least 2, at least 2, a multiple of 8.")


def _classify(network: nn.Module, dataset: ImageSet, batch: int, dim: int, device: str) -> _Task:
    assert dataset.labels is not None
    labels = dataset.labels
    head = nn.Linear(dim, int(labels.max()) + 1).to(device)
    held_out, trained_on = torch.randperm(len(dataset)).tensor_split([len(dataset) // _HELD_OUT])

    def loss() -> Tensor:
        chosen = trained_on[torch.randint(len(trained_on), (batch,))]
        images = augment.move(dataset.floats(chosen).to(device), pixels=0.5, degrees=10, stretch=0.1)
        if dataset.mirrored:
            images = augment.mirror(images)
        images = augment.recolour(images, contrast=0.2, noise=0.0)
        return nn.functional.cross_entropy(head(network(images)), labels[chosen].to(device))

    def figures() -> dict[str, float]:
        with torch.no_grad():  # in parts, as the activations of all held-out images would not fit in memory
            features = torch.cat([network(dataset.floats(part)) for part in held_out.split(_PART)])
        return {"accuracy": accuracy(features, head.cpu(), labels[held_out])}

    return _Task(head, loss, figures)


def _contrast(network: nn.Module, dataset: ImageSet, batch: int, dim: int, device: str) -> _Task:
    head = projection_head(dim).to(device)

    def view(images: Tensor) -> Tensor:
        images = augment.move(images, pixels=dataset.image_shape[-1] / 8, degrees=15, stretch=0.15)
        if dataset.mirrored:
            images = augment.mirror(images)
        images = augment.recolour(images, contrast=0.3, noise=0.1)
        projections: Tensor = head(network(augment.cut_out(images, part=0.3, probability=0.5)))
        return projections

    def loss() -> Tensor:
        images = dataset.floats(torch.randint(len(dataset), (batch,))).to(device)
        return contrastive_loss(view(images), view(images))

    return _Task(head, loss, dict)


def _with_unit_scale(name: str, network: nn.Module, dim: int, dataset: ImageSet) -> FeatureSpace:
    space = FeatureSpace(name, network, torch.ones(dim), dataset.image_shape)
    squares = torch.zeros(dim, dtype=torch.float64)
    for first in range(0, len(dataset), _PART):  # a large set does not fit in memory as floats
        features = features_of(space, dataset.floats(slice(first, first + _PART)))
        squares += features.double().square().sum(0)
    if not squares.min() > 0:
        raise DivergenceError("A feature is zero on all images; train with another seed or learning rate.")
    space.scale.copy_((squares / len(dataset)).rsqrt())
    return space
