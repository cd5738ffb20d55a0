"""From a file of images to scores with the project's own commands alone, as the README shows for CIFAR-10."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from mmd_ddm.cli.main import main
from mmd_ddm.features.trained.weights import read_trained

COUNT, SIDE = 60, 32


def parquet_of_jpegs(file: Path) -> Path:
    """Two classes of noisy images, bright above or bright below, in the hub's layout."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(COUNT):
        pixels = torch.randint(0, 80, (SIDE, SIDE, 3), generator=generator)
        pixels[: SIDE // 2] += 160 * (i % 2)
        pixels[SIDE // 2 :] += 160 * (1 - i % 2)
        encoded = io.BytesIO()
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(encoded, "JPEG")
        rows.append({"img": {"bytes": encoded.getvalue(), "path": f"{i}.jpg"}, "label": i % 2})
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MMD_DDM_WEIGHTS", "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return ["--dataset", "cifar10", "--data", str(parquet_of_jpegs(tmp_path / "train.parquet"))]


def test_from_parquet_to_scores(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    few = ["--updates", "3", "--batch", "8"]
    for what in ("classifier", "contrastive"):
        small = ["--width", "8", "--dim", "16", "--output", "nets"]
        assert main(["pretrain", *data, "--what", what, *few, *small, "--test", data[-1], "--mirror"]) == 0
        assert f"{what!r} is too weak to be trusted alone" in capsys.readouterr().err
    scored = ["--scorings", "1", "--score-images", "8", "--score-features", "pixels"]
    assert main(["pretrain", *data, *few, *scored, "--channels", "8,16", "--layers", "1", "--output", "base"]) == 0
    spaces = ["--weights", "nets", "--score-features", "classifier+contrastive"]
    run = ["--steps", "2", "--updates", "2", "--batch", "4", "--scorings", "1", "--score-images", "8"]
    assert main(["finetune", *data, "--base-model", "base", *spaces, *run, "--output", "tuned"]) == 0
    weak = [record for record in caplog.records if "is too weak to be trusted alone" in record.getMessage()]
    assert len(weak) == 2  # one line a space
    assert not [record for record in caplog.records if "other images" in record.getMessage()]
    assert read_trained(Path("nets/cifar10_classifier.safetensors")).record["data"] == data[-1]
    record = json.loads((tmp_path / "tuned" / "model" / "mmd_ddm.json").read_text())
    assert record["steps"] == 2
    assert record["config"]["features"] == "contrastive"  # the last of the named ones, in preset best
    # mirrored: the loss's bank holds two files of features, the scores' banks one each
    banks = sorted(path.name.rpartition("-")[0] for path in (tmp_path / "home" / "banks").iterdir() if path.is_dir())
    losses = ["cifar10-classifier", "cifar10-contrastive", "cifar10-contrastive-mirrored"]
    assert banks == [*losses, "cifar10-pixels"]  # the last is of the base model's scores
    scored = ["--model", "tuned/model", "--images", "8", "--json", "scores.json"]
    assert main(["evaluate", *data, *scored, "--weights", "nets", "--features", "classifier"]) == 0
    assert "kid_classifier" in (tmp_path / "scores.json").read_text()


@pytest.mark.parametrize(
    ("command", "options", "told"),
    [
        ("prepare", ["--resolution", "64"], "32 x 32"),
        ("finetune", ["--score-features", "inception", "--base-model", "digits"], "(1, 8, 8)"),
        ("finetune", ["--score-features", "classifier"], "mmd-ddm pretrain"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    data: list[str], command: str, options: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, *data, *options]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mmd-ddm: ")]
    assert len(said) == 1
    assert told in said[0]
