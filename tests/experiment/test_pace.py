"""The estimate of a run's time: what is counted, and how a speed is measured."""

from __future__ import annotations

import pytest
import torch

from mmd_ddm.experiment import pace
from mmd_ddm.experiment.pace import Pace, measure_pace
from mmd_ddm.experiment.presets import preset


def test_a_run_takes_its_updates_and_scorings() -> None:
    config = preset("best", "digits").replace(updates=12, batch=8, steps=5, scorings=3, score_images=100, ema=0.9)
    found = Pace(gradient=0.01, evaluation=0.002, features=0.003)
    # 12 updates of 8 images; the base model, three scorings, and at the end raw and averaged weights
    alone = 12 * 8 * 5 * 0.01 + 5 * 100 * (5 * 0.002 + 0.003)
    assert found.run(config, 1) == pytest.approx(alone)
    assert found.run(config, 4) == pytest.approx(alone / 4)
    assert found.run(config.replace(ema=0), 1) == pytest.approx(alone - 100 * (5 * 0.002 + 0.003))


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("each", "most", "groups"), [(0.01, 128, [2, 2, 8, 32]), (1e-4, 20, [2, 2, 8, 20]), (9, 1, [1, 1])]
)
def test_groups_grow_until_they_can_be_measured(
    each: float, most: int, groups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, seen = Clock(), list[int]()
    monkeypatch.setattr(pace, "time", clock)

    def work(images: int) -> None:
        seen.append(images)
        clock.now += each * images

    assert pace._seconds_each(work, most, torch.device("cpu")) == pytest.approx(each)
    assert seen == groups


def test_measuring_needs_no_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "ENOUGH", 0.0)
    monkeypatch.setattr("mmd_ddm.experiment.build.Parts._bank", None)
    for gradient in ("stored", "replay"):
        found = measure_pace(preset("best", "digits").replace(gradient=gradient, steps=2), torch.get_num_threads())
        assert min(found) > 0
        assert found.gradient > found.evaluation  # backward costs more than nothing
