"""A random Inception network in the file format of the published one, for tests without downloads."""

from __future__ import annotations

import io
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


def photos() -> Tensor:
    """Four 8-bit images of 32 x 32 with structure at all scales."""
    generator = torch.Generator().manual_seed(0)
    layers = [
        nn.functional.interpolate(torch.randn(4, 3, side, side, generator=generator), (32, 32), mode="bilinear")
        for side in (2, 4, 8, 16, 32)
    ]
    return (128 + 40 * sum(layers)).clamp(0, 255).to(torch.uint8)


def random_inception(folder: Path) -> Path:
    """A random Inception network whose batch statistics are those of the photos: without, features hardly vary."""
    file = folder / INCEPTION_FILE
    network = torch_fidelity_inception(None, ["2048"])
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(photos())
    torch.save(network.state_dict(), file)
    return file


def torch_fidelity_inception(file: Path | None, layers: list[str]) -> nn.Module:
    """torch-fidelity's own network, from a file or with random weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    if file is not None:
        return Network("reference", layers, feature_extractor_weights_path=str(file))
    nothing = io.BytesIO()
    torch.save({}, nothing)
    nothing.seek(0)
    torch.manual_seed(1)
    with mock.patch.object(Network, "load_state_dict"):
        return Network("random", layers, feature_extractor_weights_path=nothing)
