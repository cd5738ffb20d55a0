"""Training of feature spaces from nothing: the two that digits ships with, and those for pictures."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor, nn

from mmd_ddm.data.images import ImageSet
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.features.space import FeatureSpace, features_of
from mmd_ddm.features.trained.load import build_network, save_trained
from mmd_ddm.features.trained.muon import Muon
from mmd_ddm.features.trained.recipes import RECIPES, Recipe, Settings, architecture_for
from mmd_ddm.features.trained.residual import Layers, ResidualNetwork
from mmd_ddm.features.trained.tasks import TASKS, Images
from mmd_ddm.features.trained.weights import PICTURES, TRAINED, Trained, weights_file
from mmd_ddm.training import Optimization, seeded, train
from mmd_ddm.training_state import Keeper

_PART = 1024  # images at a time where all are looked at
_STATISTICS = 8192  # pictures, evenly spread, that statistics of a network and its features are gathered from
_DEAD = 0.1  # a feature's deviation is taken to be at least this part of its layer's


def train_feature_space(
    dataset: ImageSet,
    name: str,
    folder: Path | str,
    *,
    source: str | None = None,
    test: ImageSet | None = None,
    mirror: bool = False,
    seed: int = 0,
    device: str = "cpu",
    **settings: Unpack[Settings],
) -> dict[str, float]:
    """Train a feature space from nothing and write it to `<folder>/<dataset>_<name>.safetensors`.

    Its state is kept beside that file every minute, and the same call goes on where it was interrupted.

    Images below 16 pixels get the networks of digits, larger ones a residual network. Each feature is scaled so that
    its mean square over all real images, of pictures over 8192 of them, is 1. The same seed gives the same weights on
    the same machine with the same number of threads.

    Args:
        dataset: Real images, square, their height a power of two of at least 4.
        name: "classifier" (needs labels) or "contrastive" (uses none).
        folder: Where the file goes.
        source: Where the user's images are, which the file names beside their fingerprint.
        test: Images of the same shape that accuracy is measured on; None: a part of the data set that is not trained
            on, a fifth of digits, a tenth of pictures.
        mirror: Whether mirror images are shown too, where the data set does not say so itself.
        seed: Of weights, batches and augmentation.
        device: Torch device to train on.
        **settings: In place of the default `RECIPES`: updates, batch, learning_rate, ema, width, dim.

    Returns:
        "loss" (running mean at the end) and "accuracy" on images that were not trained on: of "classifier", or of the
        20 nearest neighbours in "contrastive" for labelled pictures.

    Raises:
        UserError: If the name is unknown, labels are missing, or a setting is out of its range.
        DivergenceError: If the loss stops being finite or a feature dies.
    """
    if name not in TRAINED:
        raise UserError(f"There is no feature space {name!r} to train; choose one of: {', '.join(TRAINED)}.")
    shape, architecture = dataset.image_shape, architecture_for(dataset.image_shape)
    recipe = replace(RECIPES[architecture, name], **settings)
    _check(dataset, test, name, recipe)
    asked = asdict(recipe)
    trained = Trained(name, architecture, shape, recipe.width, recipe.dim, {})
    images = Images(dataset, test, mirror or dataset.mirrored)
    asked |= {"seed": seed}
    if architecture == PICTURES:
        asked |= {"mirror": images.mirror, "test": test.fingerprint if test else None}
    about = {"dataset": dataset.name, "fingerprint": dataset.fingerprint, **asked}
    file = weights_file(Path(folder), dataset.name, name)
    named = {} if source is None else {"data": source}
    keeper = Keeper(file.with_suffix(".unfinished"), about)
    with seeded(seed, device):
        network = build_network(trained).to(device)
        task = TASKS[architecture, name](network, images, recipe.batch, recipe.dim, device)
        both, stage = nn.ModuleList([network, task.head]), f"Training {name} on {dataset.name}"
        rate, optimizer = recipe.learning_rate, None
        if isinstance(network, ResidualNetwork):
            network.to(memory_format=torch.channels_last)
            optimizer = Muon(both, rate)
        course = Optimization(recipe.updates, rate, recipe.ema)
        loss = train(both, task.loss, course, stage=stage, optimizer=optimizer, keeper=keeper)
    layers, looked_at = None, torch.arange(len(dataset))
    if isinstance(network, ResidualNetwork):
        looked_at = torch.linspace(0, len(dataset) - 1, min(_STATISTICS, len(dataset))).long()
        layers = _finish(network, dataset, looked_at)
    space = FeatureSpace(name, network.cpu(), torch.ones(recipe.dim), shape)
    space.scale.copy_(_moments(space, dataset, looked_at)[1].rsqrt())
    figures = {"loss": loss, **task.figures(network)}
    save_trained(space, replace(trained, record={**about, **named, **figures}), file, layers)
    keeper.clear()
    return figures


def _check(dataset: ImageSet, test: ImageSet | None, name: str, recipe: Recipe) -> None:
    if name == "classifier" and dataset.labels is None:
        raise UserError(f"{dataset.name!r} has no labels to train a classifier on; train 'contrastive'.")
    if name == "classifier" and dataset.labels is not None and len(dataset.labels.unique()) == 1:
        said = f"All images of {dataset.name!r} are of one class, which teaches a classifier nothing"
        raise UserError(f"{said}; train 'contrastive', or choose other classes with mmd-ddm prepare --labels.")
    if test is not None and test.image_shape != dataset.image_shape:
        raise UserError(f"The test images are {test.image_shape}, the others {dataset.image_shape}; make them alike.")
    if test is not None and name == "classifier" and test.labels is None:
        raise UserError("The test images have no labels to measure the accuracy by; leave them out.")
    _, height, across = dataset.image_shape
    if height != across or height < 4 or height & (height - 1):
        raise UserError(f"Images are {height} x {across}; height and width must be one power of two, 4 or more.")
    batch, dim, width = recipe.batch, recipe.dim, recipe.width
    if batch < 2 or dim < 2 or width < 8 or width % 8:
        raise UserError(f"batch {batch}, dim {dim}, width {width}: at least 2, at least 2, a multiple of 8.")


@torch.no_grad()
def _finish(network: ResidualNetwork, dataset: ImageSet, looked_at: Tensor) -> Tensor:
    """Make the network what is saved, in evaluation mode and half precision, and return the scale of all its layers."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over what follows
    network.train()  # statistics are those of the averaged weights, on images as they are
    for part in looked_at.split(_PART):
        network(dataset.floats(part).to(next(network.parameters()).device))
    network.cpu().to(memory_format=torch.contiguous_format).eval().fold()
    for weight in network.parameters():
        weight.copy_(weight.half())
    every = Layers(network)
    space = FeatureSpace("layers", every, torch.ones(sum(every.dims)), dataset.image_shape)
    mean, square = _moments(space, dataset, looked_at)
    variances = (square - mean.square()).split(list(every.dims))
    # a layer's variances sum up to the same number for each layer, in all to the number of features
    scales = [variance.clamp(min=_DEAD**2 * variance.mean()).rsqrt() / len(variance) ** 0.5 for variance in variances]
    return torch.cat(scales).mul((space.dim / len(variances)) ** 0.5).float()


def _moments(space: FeatureSpace, dataset: ImageSet, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the mean square of each feature over some images, D numbers each, in float64."""
    sums, squares = torch.zeros(2, space.dim, dtype=torch.float64)
    for part in indices.split(_PART):  # a large set does not fit in memory as floats
        features = features_of(space, dataset.floats(part))
        sums += features.double().sum(0)
        squares += features.double().square().sum(0)
    if not squares.min() > 0:
        raise DivergenceError("A feature is zero on all images; train with another seed or learning rate.")
    return sums / len(indices), squares / len(indices)
