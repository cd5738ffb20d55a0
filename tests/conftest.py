"""Seeds and toys shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule

os.environ["OMP_NUM_THREADS"] = "1"  # of every command that is started: else as many as there are idle cores
SHAPE = (2, 3, 2)  # channels, height and width differ, so that swapped axes fail


class Output(NamedTuple):
    sample: Tensor


class ToyNetwork(nn.Module):
    """A small network of image and time, and of a class if it has some, without symmetries."""

    def __init__(self, classes: int | None = None) -> None:
        super().__init__()
        size = SHAPE[0] * SHAPE[1] * SHAPE[2]
        self.inner = nn.Linear(size + 1, 7)
        self.dropout = nn.Dropout(0.3)
        self.outer = nn.Linear(7, size)
        self.known = None if classes is None else nn.Embedding(classes, 7)

    def forward(self, image: Tensor, timestep: Tensor, class_labels: Tensor | None = None) -> Output:
        time = (timestep[:, None] / 1000).to(image.dtype)
        inner = self.inner(torch.cat([image.flatten(1), time], dim=1))
        if self.known is not None:
            inner = inner + self.known(class_labels)
        hidden = self.dropout(torch.tanh(inner))
        return Output(self.outer(hidden).view_as(image))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the toys are small: two threads on busy cores are slower than one


@pytest.fixture
def remote_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code in a model's folder is copied into the test's own folder, where diffusers would take the user's cache."""
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


@pytest.fixture
def noise_schedule() -> NoiseSchedule:
    """The linear schedule of Ho et al. 2020."""
    return NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))


@pytest.fixture
def toy(noise_schedule: NoiseSchedule) -> Denoiser:
    """A float64 denoiser in eval mode."""
    return Denoiser(ToyNetwork().double(), noise_schedule, SHAPE).eval()


@pytest.fixture
def toy_space() -> nn.Module:
    """A float64 feature space of dimension 5."""
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 5), nn.Tanh()).double().requires_grad_(False)
