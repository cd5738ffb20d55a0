"""Every setting reaches something: another value gives other numbers, another way to compute them, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmd_ddm import compilation
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config, settings
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.setting import Scalar, Setting

BASE = preset("paper", "digits").replace(
    updates=3, batch=8, scorings=1, score_images=8, learning_rate=1e-3, reference="bank"
)
TEXTS = {  # other values of the settings whose values are neither numbers nor names of a list
    "features": "contrastive",
    "matching": "joint",
    "kernel": "linear",
    "bandwidth": "dim",
    "score_features": "classifier",
    "other_steps": "2",
    "data": "nowhere",
    "name": "birds",
    "base_model": "./nowhere",
}
BESIDE: dict[str, dict[str, object]] = {  # what a setting means something beside
    "variance": {"sampler": "ddpm"},
    "bandwidth": {"kernel": "rbf"},
    "sampler_learning_rate": {"learn": "both"},
    "schedule": {"steps": 7},  # the published stride equals linear timesteps for divisors of T
    "image_range": {"learning_rate": 0.1},  # pixels leave [-1, 1]
    "keep": {"learning_rate": 0.1, "scorings": 2},  # the second state is worse than the first
}


def other_value(item: Setting, value: Scalar) -> Scalar:
    if choices := item.metadata["rule"].choices:
        return next(choice for choice in reversed(choices) if choice != value)
    if item.name in TEXTS:
        return TEXTS[item.name]
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 or 0.5
    whole = "whole number" in item.metadata["rule"].words
    return 5 if whole else 1e-4


def outcome(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """The rows of the run, how its gradient was computed and what was compiled for it, or why it is refused."""
    rows: list[dict[str, float]] = []
    compiled: list[str] = []

    def compile_nothing(function: object) -> object:
        compiled.append(type(function).__name__)
        return function

    monkeypatch.setattr(compilation, "_compile", compile_nothing)
    try:
        finetune(config, folder, report=lambda row, checkpoint: rows.append(row))
    except UserError as refusal:
        return str(refusal)
    return rows, json.loads((folder / "checkpoint" / "state.json").read_text())["route"], compiled


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[Config, object]:
    return {}


@pytest.mark.parametrize("item", settings(), ids=lambda item: item.name)
def test_another_value_changes_something(
    item: Setting, tmp_path: Path, outcomes: dict[Config, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = BASE.replace(**BESIDE.get(item.name, {}))
    if base not in outcomes:
        outcomes[base] = outcome(base, tmp_path / "base", monkeypatch)
    assert not isinstance(outcomes[base], str)
    try:
        changed = base.replace(**{item.name: other_value(item, base.flat()[item.name])})
    except UserError:
        return
    assert outcome(changed, tmp_path / "changed", monkeypatch) != outcomes[base]
