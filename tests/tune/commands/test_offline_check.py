"""The dry report: right numbers, nothing downloaded, prepared or computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmd_ddm.data.catalogue import dataset_names
from mmd_ddm.finetuning.memory import readable
from tune.search import main


@pytest.fixture(autouse=True)
def _cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MMD_DDM_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("MMD_DDM_WEIGHTS", raising=False)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("something is to be downloaded")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.chdir(tmp_path)


def report(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main([*options, "--offline-check"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("dataset", [name for name in dataset_names() if name != "own"])
def test_every_data_set_is_told_and_nothing_is_written(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report(capsys, "--dataset", dataset)
    assert list(tmp_path.iterdir()) == []


def test_church_is_told_in_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    told = report(capsys, "--dataset", "lsun_church", "--steps", "10", "--updates", "100", "--score-images", "50")
    assert "126,227 of 3 x 256 x 256" in told
    assert "24.8 GB to prepare" in told  # 126 227 * 3 * 256^2 bytes
    assert "128,000 network evaluations with gradient" in told  # 100 updates of 128 images, 10 steps
    assert "113,673,219 weights" in told
    assert "2.3 GB for" in told  # 4 bytes, 5 copies: weights, gradient, two moments, average
    assert "517.0 MB for 252,454 real features in clip" in told  # mirrored, 512 floats
    missing = told[told.index("missing:") :]
    for each in ("images", "hf download google/ddpm-church-256", "--base-model", "ViT-B-32.pt", "weights-inception"):
        assert each in missing


@pytest.mark.parametrize(
    ("name", "weights", "bytes_of_weights"),
    [
        # 4 bytes, 5 copies of the network's weights (Adam, gradient, average) and one of the frozen decoder's
        ("CompVis/ldm-celebahq-256", "274,056,163", 20 * 274_056_163 + 4 * 55_322_782),
        ("facebook/DiT-XL-2-256@main", "749,826,464", 20 * 749_826_464 + 4 * 83_653_863),
    ],
)
def test_memory_of_latent_models_is_told_before_they_are_there(
    name: str, weights: str, bytes_of_weights: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told = report(capsys, "--dataset", "lsun_church", "--base-model", name)
    assert f"{readable(bytes_of_weights)} for {weights} weights" in told
    assert f"hf download {name.partition('@')[0]}" in told[told.index("missing:") :]


def test_a_model_that_has_to_be_imported_is_told_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mmd-ddm import" in report(capsys, "--dataset", "imagenet64")


def test_spaces_without_weights_are_never_missing(capsys: pytest.CaptureFixture[str]) -> None:
    told = report(capsys, "--dataset", "lsun_church", "--score-features", "pixels+patches")
    assert "patches: needs no weights" in told
    assert "1.1 GB for 252,454 real features in patches" in told  # mirrored, 1080 floats
    missing = told[told.index("missing:") :]
    assert "pixels" not in missing
    assert "patches" not in missing


def test_nothing_is_missing_for_digits(capsys: pytest.CaptureFixture[str]) -> None:
    told = report(capsys, "--dataset", "digits")
    assert told.rstrip().endswith("nothing is missing")
    assert "76,800 network evaluations" in told  # 120 updates of 128 images, 5 steps


def test_what_is_searched_counts(capsys: pytest.CaptureFixture[str]) -> None:
    space = ["--space", "features=classifier,patches,0.5*dinov2", "--space", "steps=3,20", "--space", "batch=16,256"]
    told = report(capsys, "--dataset", "digits", *space)
    assert "features classifier, patches, 0.5*dinov2" in told
    assert "at most 120 updates of 256 images with 20 steps: 614,400 network evaluations" in told  # their product
    assert "patches: needs no weights" in told
    assert "dinov2_vitb14_pretrain.pth" in told[told.index("missing:") :]
