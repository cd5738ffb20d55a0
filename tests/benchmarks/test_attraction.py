"""What attraction to the whole bank adds to an update of CIFAR-10's size, on the CPU.

N = 128 samples of S = 5 steps of the U-Net of 35.7 million weights, Inception-V3, and M = 50 000 real features of
D = 2048. The network's part is measured on a few samples, as its cost is proportional to them.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.kernels import Cubic, Gaussian
from mmd_ddm.discrepancy.mmd import sum_and_gradient
from mmd_ddm.features.registry import load_feature_space
from mmd_ddm.finetuning.gradient import Rollout, replayed_gradient
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.published import unet_config
from tests.benchmarks.table import interleaved, ratio, show
from tests.inception import random_inception

pytestmark = [pytest.mark.slow, pytest.mark.benchmark]
BATCH, MEASURED, STEPS, REAL, DIM, REPETITIONS = 128, 4, 5, 50_000, 2048, 3


def test_attraction_to_the_whole_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_inception(tmp_path)
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
    config = unet_config("google/ddpm-cifar10-32")
    assert config is not None
    schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
    denoiser = Denoiser(build_unet(config), schedule, (3, 32, 32))
    pipeline = Rollout(denoiser, make_chain(schedule, steps=STEPS), load_feature_space("inception", "cifar10"))
    noise = torch.randn(1, MEASURED, 3, 32, 32)
    generated = torch.rand(BATCH, DIM)
    real = {dtype: torch.rand(REAL, DIM).to(dtype) for dtype in (torch.float32, torch.float16)}

    def network() -> None:
        replayed_gradient(pipeline, _no_objective, [noise], 0)

    seconds = interleaved(
        {
            "network": network,
            "cubic, float32": lambda: sum_and_gradient(generated, real[torch.float32], Cubic()),
            "cubic, float16": lambda: sum_and_gradient(generated, real[torch.float16], Cubic()),
            "gaussian, float32": lambda: sum_and_gradient(generated, real[torch.float32], Gaussian(30.0)),
        },
        REPETITIONS,
    )
    rows: list[list[object]] = [["kernel and bank", "share of an update"]]
    for name in list(seconds)[1:]:
        share = ratio(seconds, name, "network") * MEASURED / BATCH
        rows.append([name, share])
        assert share <= 0.05
    show("attraction to 50 000 real features (bar 0.05)", rows)


def _no_objective(features: Tensor, update: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(()), features
