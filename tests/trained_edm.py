"""Small EDM and EDM2 networks, trained on digits as their authors train theirs, and written as they write them.

    python -m tests.trained_edm edm edm.pkl

writes a file for `mmd-ddm import`: `edm` a DDPM++ without classes, `edm2` a network of digits' ten classes.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.training import Optimization, seeded, train
from tests.pretrained.originals.edm import EDMStructure, edm_denoiser, edm_weights
from tests.pretrained.originals.edm2 import EDM2Structure, edm2_denoiser, edm2_weights, write_edm2
from tests.pretrained.originals.edm_pickle import write_network
from tests.pretrained.originals.structure import Weights

EDM = EDMStructure(24, (1, 2), 1, 8, (4,), channels=1)
EDM2 = EDM2Structure(24, (1, 2), 1, 8, (4,), head_width=16, classes=10, channels=1)
_CONSTANTS = ("freqs", "phases", "resample_filter", "map_augment.weight")  # the last is of no use without augmentations
_SMALL = ("conv1.weight", "proj.weight", "aux_conv.weight")  # NVlabs' layers that begin at nothing, almost
_SIGMA_DATA = 0.5
Denoise = Callable[..., Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]


class Trainable(nn.Module):
    """Weights of a restatement, by name, of which the constants stay what they are."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        moving = {name: nn.Parameter(value) for name, value in weights.items() if not name.endswith(_CONSTANTS)}
        self.list = nn.ParameterList(moving.values())
        self.weights: Weights = {**weights, **moving}

    def result(self) -> Weights:
        return {name: value.detach() for name, value in self.weights.items()}


def edm_beginning(s: EDMStructure) -> Weights:
    """What an EDM network is before training: residual branches and output all but 0, biases 0."""
    weights = edm_weights(s)
    for name, value in weights.items():
        if value.dim() == 1:
            value.fill_(float(name.endswith(".weight")))
        elif name.endswith(_SMALL):
            value.mul_(1e-5)
    return weights


def edm2_beginning(s: EDM2Structure) -> Weights:
    """What an EDM2 network is before training: gains are 0."""
    weights = {name: value.float() for name, value in edm2_weights(s).items()}
    return {name: value if value.dim() else torch.zeros(()) for name, value in weights.items()}


def noisy(images: Tensor, mean: float, deviation: float) -> tuple[Tensor, Tensor, Tensor]:
    """Images with noise, log-normal noise levels, and the weights of their losses (Karras et al. 2022, Table 1)."""
    sigma = (mean + deviation * torch.randn(len(images))).exp()
    weight = (sigma**2 + _SIGMA_DATA**2) / (sigma * _SIGMA_DATA) ** 2
    return images + sigma.view(-1, 1, 1, 1) * torch.randn_like(images), sigma, weight.view(-1, 1, 1, 1)


def edm_loss(denoise: Denoise, images: Tensor) -> Tensor:
    """Karras et al. 2022, Equation 8 with the distribution and weights of Table 1, as the mean over pixels."""
    x, sigma, weight = noisy(images, -1.2, 1.2)
    return (weight * (denoise(x, sigma) - images) ** 2).mean()


def edm2_loss(denoise: Denoise, weights: Weights, images: Tensor, labels: Tensor) -> Tensor:
    """Karras et al. 2024, Equations 14 and 21, with an estimate u of the loss, and noise levels as of ImageNet 64."""
    with torch.no_grad():  # Equation 66
        for value in weights.values():
            if value.dim() > 1:
                rows = value.flatten(1)
                value.copy_((rows / (1e-4 + rows.square().mean(1, keepdim=True).sqrt())).view_as(value))
    x, sigma, weight = noisy(images, -0.8, 1.6)
    angles = torch.outer(sigma.log() / 4, weights["logvar_fourier.freqs"]) + weights["logvar_fourier.phases"]
    estimator = weights["logvar_linear.weight"][0]
    unit = estimator / (1e-4 + estimator.square().mean().sqrt()) / math.sqrt(len(estimator))
    u = (math.sqrt(2) * angles.cos() @ unit).view(-1, 1, 1, 1)
    told = nn.functional.one_hot(labels, 10).to(x)
    return (weight / u.exp() * (denoise(x, sigma, told) - images) ** 2 + u).mean()


def trained(weights: Weights, loss: Callable[[Weights], Loss], updates: int, batch: int, rate: float) -> Weights:
    """Train on digits and return the moving average of the weights."""
    digits = load_dataset(dataset_spec("digits"))
    assert digits.labels is not None
    images, labels = digits.floats(), digits.labels
    network = Trainable(weights)
    loss_of = loss(network.weights)

    def batch_loss() -> Tensor:
        chosen = torch.randint(len(images), (batch,))
        return loss_of(images[chosen], labels[chosen])

    optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    optimization = Optimization(updates, rate, ema=0.999, warmup=updates // 50)
    with seeded(0, "cpu"):
        train(network, batch_loss, optimization, stage="Pretraining", optimizer=optimizer)
    return network.result()


def write_trained_edm(path: Path, updates: int, batch: int = 128) -> Path:
    """Train an EDM network and write it."""

    def loss(weights: Weights) -> Loss:
        denoise = edm_denoiser(EDM, weights)
        return lambda images, labels: edm_loss(denoise, images)

    return write_network(path, EDM, trained(edm_beginning(EDM), loss, updates, batch, 2e-3))


def write_trained_edm2(path: Path, updates: int, batch: int = 128) -> Path:
    """Train an EDM2 network and write it, in half precision as NVlabs do."""

    def loss(weights: Weights) -> Loss:
        denoise = edm2_denoiser(EDM2, weights)
        return lambda images, labels: edm2_loss(denoise, weights, images, labels)

    weights = trained(edm2_beginning(EDM2), loss, updates, batch, 1e-2)
    return write_edm2(path, EDM2, {name: value.half() for name, value in weights.items()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("edm", "edm2"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--updates", type=int, default=2500)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write = {"edm": write_trained_edm, "edm2": write_trained_edm2}[options.kind]
    write(options.path, options.updates)


if __name__ == "__main__":
    main()
