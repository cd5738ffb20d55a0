"""Every benchmark at a size that takes no time: so that none falls behind the code. No time is asserted."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import nn

from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning.gradient import GRADIENTS
from tests.benchmarks import church_update, one_update, real_size
from tests.benchmarks.test_attraction import shares_of_an_update
from tests.benchmarks.test_scores import kid_over_fresh_images, seconds_and_values
from tests.benchmarks.test_update import bytes_kept, update_seconds

UNET = {
    "sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1, "norm_num_groups": 8,
    "block_out_channels": (8, 8), "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip


@pytest.fixture
def space() -> FeatureSpace:
    return FeatureSpace("tiny", nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)), torch.ones(5), (3, 8, 8))


def test_updates_of_true_size(space: FeatureSpace) -> None:
    ways = [way for way, (_, compiled) in real_size.WAYS.items() if not compiled]
    sizes = {"batch": 3, "steps": 2, "real": 20, "updates": 1, "side": 8}
    rows = real_size.table_of(UNET, space, ways, **sizes, device=torch.device("cpu"))
    assert len(rows) == 1 + len(ways) * len(GRADIENTS)
    for row in rows[1:]:
        numbers = [cell for cell in row if isinstance(cell, float)]
        assert len(numbers) == len(real_size.HEAD) - 2
        assert all(map(math.isfinite, numbers))
        assert sum(numbers[-4:]) == pytest.approx(1)


def test_flops_are_those_of_the_products() -> None:
    """Replaying computes each evaluation once more: forward 1, backward 2, the first image needs no gradient."""
    stored, replayed = (real_size.network_flops(UNET, route, 2) for route in ("stored", "replay"))
    assert 1.3 < replayed / stored < 1.4
    assert real_size.network_flops(UNET, "stored", 4) == pytest.approx(2 * stored, rel=0.02)


def test_update_of_churchs_size(space: FeatureSpace) -> None:
    found = church_update.update(UNET, space, steps=2, batch=2, real=20)
    assert all(map(math.isfinite, found.values()))
    assert found["moved"] == pytest.approx(5e-6, rel=0.05)  # Adam's first step is the learning rate


def test_attraction(space: FeatureSpace) -> None:
    shares = shares_of_an_update(UNET, space, batch=4, measured=2, steps=2, real=20, repetitions=1)
    assert all(map(math.isfinite, shares.values()))


@pytest.mark.parametrize("route", GRADIENTS)
def test_memory_of_an_update(route: str) -> None:
    kept, loss = bytes_kept(route, steps=2, batch=4, micro=2)
    peaks = one_update.update_peaks(route, steps=2, batch=4, micro=2)
    assert kept > 0
    assert all(map(math.isfinite, peaks.values()))
    assert peaks["mmd2"] == loss


def test_time_of_an_update() -> None:
    assert all(statistics.median(each) > 0 for each in update_seconds(2, 4, repetitions=1).values())


def test_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, values = seconds_and_values(300, 8, repetitions=1)
    assert seconds.keys() == values.keys()
    assert values["FID, ours"] == pytest.approx(values["FID, torch-fidelity"], rel=1e-4)
    found = kid_over_fresh_images(0.05, monkeypatch, draws=2, n=100, dim=8, subsets=2, size=50)
    assert all(math.isfinite(value) for each in (values.values(), *found.values()) for value in each)
