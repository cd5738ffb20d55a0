"""What is said while final scores are measured."""

from __future__ import annotations

import threading

import pytest

from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.scoring.scored_model import BASE, ScoredModel
from tune.scoring import remaining
from tune.scoring.remaining import Remaining

FIFTY, TEN = (ScoredModel(BASE, SamplerConfig(steps=steps)) for steps in (50, 10))


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_what_is_left_follows_from_network_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(), list[str]()
    monkeypatch.setattr(remaining, "time", clock)
    left = Remaining(said.append, [FIFTY, TEN, None])
    left.ended(None, "scored real images")
    clock.now += 25
    left.ended(FIFTY, "scored 50")  # 25 s for 50 of 60
    left.ended(TEN, "scored 10")
    assert said == ["scored real images", "scored 50; about 5 s left", "scored 10"]


def test_silence_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = threading.Event()

    def say(text: str) -> None:
        assert text == "2 scores are left"  # nothing tells yet how fast it goes
        spoken.set()

    monkeypatch.setattr(remaining, "QUIET", 0.01)
    with Remaining(say, [FIFTY, TEN]).telling():
        assert spoken.wait(10)
