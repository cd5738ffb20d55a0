"""What attraction to the whole bank adds to an update of CIFAR-10's size, on the CPU.

N = 128 samples of S = 5 steps of the U-Net of 35.7 million weights, Inception-V3, and M = 50 000 real features of
D = 2048. The network's part is measured on a few samples, as its cost is proportional to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.kernels import Cubic, Gaussian
from mmd_ddm.discrepancy.mmd import sum_and_gradient
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning.gradient import Rollout, replayed_gradient
from mmd_ddm.finetuning.objective import ValueAndGradient
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.known_unets import known_unet_config
from tests.benchmarks.table import interleaved, ratio, show
from tests.inception import random_inception

BATCH, MEASURED, STEPS, REAL, REPETITIONS = 128, 4, 5, 50_000, 3


def shares_of_an_update(
    unet: Mapping[str, object],
    space: FeatureSpace,
    *,
    batch: int,
    measured: int,
    steps: int,
    real: int,
    repetitions: int,
) -> dict[str, float]:
    """The time of attraction as a share of the network's, by kernel and precision of the bank."""
    schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
    shape = (3, unet["sample_size"], unet["sample_size"])
    pipeline = Rollout(Denoiser(build_unet(unet), schedule, shape), make_chain(schedule, steps=steps), space)
    noise, generated = torch.randn(1, measured, *shape), torch.rand(batch, space.dim)
    banks = {dtype: torch.rand(real, space.dim).to(dtype) for dtype in (torch.float32, torch.float16)}
    seconds = interleaved(
        {
            "network": lambda: replayed_gradient(pipeline, _no_objective, [Start(noise)], 0),
            "cubic, float32": lambda: sum_and_gradient(generated, banks[torch.float32], Cubic()),
            "cubic, float16": lambda: sum_and_gradient(generated, banks[torch.float16], Cubic()),
            "gaussian, float32": lambda: sum_and_gradient(generated, banks[torch.float32], Gaussian(30.0)),
        },
        repetitions,
    )
    return {name: ratio(seconds, name, "network") * measured / batch for name in list(seconds)[1:]}


@pytest.mark.slow
@pytest.mark.benchmark
def test_attraction_to_the_whole_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random_inception(tmp_path)
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
    unet = known_unet_config("google/ddpm-cifar10-32")
    assert unet is not None
    shares = shares_of_an_update(
        unet, load_feature_space("inception", "cifar10"),
        batch=BATCH, measured=MEASURED, steps=STEPS, real=REAL, repetitions=REPETITIONS,
    )  # fmt: skip
    rows: list[list[object]] = [["kernel and bank", "share of an update"], *map(list, shares.items())]
    show("attraction to 50 000 real features (bar 0.05)", rows)
    assert max(shares.values()) <= 0.05


def _no_objective(features: Tensor, update: int) -> ValueAndGradient:
    return ValueAndGradient(torch.zeros(()), features)
