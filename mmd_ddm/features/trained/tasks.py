"""What a feature network is trained for: the loss of a batch, and figures that say how well it came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmd_ddm.data.images import ImageSet
from mmd_ddm.features.trained import augment, pictures
from mmd_ddm.features.trained.classifier import accuracy
from mmd_ddm.features.trained.contrastive import contrastive_loss, projection_head
from mmd_ddm.features.trained.neighbours import neighbour_accuracy
from mmd_ddm.features.trained.precision import fast_precision
from mmd_ddm.features.trained.weights import DIGITS, PICTURES

_PART = 1024  # images at a time where all are looked at
_SMOOTHING = 0.1  # of labels


class Task(NamedTuple):
    """What one way of training adds to the network: its last layers, its loss, its figures at the end."""

    head: nn.Module
    loss: Callable[[], Tensor]
    figures: Callable[[nn.Module], dict[str, float]]


class Images(NamedTuple):
    """The images of a training."""

    dataset: ImageSet
    test: ImageSet | None  # images that accuracy is measured on; None: some of the data set, not trained on
    mirror: bool  # whether mirror images are shown too

    def split(self, one_in: int) -> tuple[Tensor, ImageSet, Tensor]:
        """Draw which images are trained on, and return them, and whose images, and which of them, are held out."""
        if self.test is not None:
            return torch.arange(len(self.dataset)), self.test, torch.arange(len(self.test))
        held_out, chosen = torch.randperm(len(self.dataset)).tensor_split([len(self.dataset) // one_in])
        return chosen, self.dataset, held_out


def features_at(network: nn.Module, dataset: ImageSet, indices: Tensor) -> Tensor:
    """Return features of some images, in parts, as the activations of all would not fit in memory."""
    with torch.no_grad():
        return torch.cat([network(dataset.floats(part)) for part in indices.split(_PART)])


def classify_digits(network: nn.Module, given: Images, batch: int, dim: int, device: str) -> Task:
    """Learn labels of small drawings, slightly moved and recoloured."""
    dataset, labels = given.dataset, _labels(given.dataset)
    head = nn.Linear(dim, int(labels.max()) + 1).to(device)
    trained_on, test, held_out = given.split(5)

    def loss() -> Tensor:
        chosen = trained_on[torch.randint(len(trained_on), (batch,))]
        images = augment.move(dataset.floats(chosen).to(device), pixels=0.5, degrees=10, stretch=0.1)
        if given.mirror:
            images = augment.mirror(images)
        images = augment.recolour(images, contrast=0.2, noise=0.0)
        return nn.functional.cross_entropy(head(network(images)), labels[chosen].to(device))

    return Task(head, loss, lambda made: _accuracy(made, head, test, held_out))


def contrast_digits(network: nn.Module, given: Images, batch: int, dim: int, device: str) -> Task:
    """Tell small drawings apart; all images are trained on."""
    dataset, head = given.dataset, projection_head(dim).to(device)

    def view(images: Tensor) -> Tensor:
        images = augment.move(images, pixels=dataset.image_shape[-1] / 8, degrees=15, stretch=0.15)
        if given.mirror:
            images = augment.mirror(images)
        images = augment.recolour(images, contrast=0.3, noise=0.1)
        projections: Tensor = head(network(augment.cut_out(images, part=0.3, probability=0.5)))
        return projections

    def loss() -> Tensor:
        images = dataset.floats(torch.randint(len(dataset), (batch,))).to(device)
        return contrastive_loss(view(images), view(images))

    return Task(head, loss, lambda made: {})


def classify_pictures(network: nn.Module, given: Images, batch: int, dim: int, device: str) -> Task:
    """Learn labels of pictures, shifted and with a square of grey; labels are smoothed by 0.1."""
    dataset, labels = given.dataset, _labels(given.dataset)
    head = nn.Linear(dim, int(labels.max()) + 1).to(device)
    trained_on, test, held_out = given.split(10)

    def loss() -> Tensor:
        chosen = trained_on[torch.randint(len(trained_on), (batch,))]
        images = dataset.floats(chosen).to(device)
        if given.mirror:
            images = augment.mirror(images)
        images = pictures.shift(images, dataset.image_shape[-1] // 8)
        images = augment.cut_out(images, part=0.25, probability=1.0, value=0.0)
        with fast_precision(device):
            logits = head(network(images.contiguous(memory_format=torch.channels_last)))
        return nn.functional.cross_entropy(logits.float(), labels[chosen].to(device), label_smoothing=_SMOOTHING)

    def figures(made: nn.Module) -> dict[str, float]:
        return {**_accuracy(made, head, test, held_out), "classes": head.out_features}

    return Task(head, loss, figures)


def contrast_pictures(network: nn.Module, given: Images, batch: int, dim: int, device: str) -> Task:
    """Tell pictures apart, whatever part and colours of them are seen; labels are for the figure alone."""
    dataset, head = given.dataset, projection_head(dim).to(device)
    trained_on, test, held_out = given.split(10)

    def view(images: Tensor) -> Tensor:
        images = pictures.crop(images, smallest=0.25)
        if given.mirror:
            images = augment.mirror(images)
        images = pictures.jitter(images, strength=0.4, probability=0.8)
        images = pictures.without_colour(images, probability=0.2)
        return pictures.blur(images, probability=0.2)  # seldom: a space has to see whether pictures are sharp

    def loss() -> Tensor:
        images = dataset.floats(trained_on[torch.randint(len(trained_on), (batch,))]).to(device)
        views = torch.cat([view(images), view(images)])
        with fast_precision(device):
            projections = head(network(views.contiguous(memory_format=torch.channels_last)))
        return contrastive_loss(*projections.float().chunk(2))

    def figures(made: nn.Module) -> dict[str, float]:
        if dataset.labels is None or test.labels is None:
            return {}
        known, asked = features_at(made, dataset, trained_on), features_at(made, test, held_out)
        right = neighbour_accuracy(known, dataset.labels[trained_on], asked, test.labels[held_out])
        return {"accuracy": right, "classes": int(dataset.labels.max()) + 1}

    return Task(head, loss, figures)


TASKS: dict[tuple[str, str], Callable[[nn.Module, Images, int, int, str], Task]] = {
    (DIGITS, "classifier"): classify_digits,
    (DIGITS, "contrastive"): contrast_digits,
    (PICTURES, "classifier"): classify_pictures,
    (PICTURES, "contrastive"): contrast_pictures,
}


def _labels(dataset: ImageSet) -> Tensor:
    assert dataset.labels is not None
    return dataset.labels


def _accuracy(network: nn.Module, head: nn.Module, test: ImageSet, held_out: Tensor) -> dict[str, float]:
    return {"accuracy": accuracy(features_at(network, test, held_out), head.cpu(), _labels(test)[held_out])}
