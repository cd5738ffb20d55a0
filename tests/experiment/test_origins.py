"""A run goes on only with what it was begun with, and needs to be told nothing twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mmd_ddm.cli.main import main
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.presets import preset
from tests.own_data import OwnData, picture


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnData]:
    """A data set with a run in `run`, whose folder of weights was named by an option alone."""
    with pytest.MonkeyPatch.context() as patch:
        own = OwnData(tmp_path_factory.mktemp("own"), patch)
        assert main(["finetune", *own.options, "--features", "classifier", "--output", "run"]) == 0
        patch.delenv("MMD_DDM_WEIGHTS")
        yield own


@pytest.fixture(autouse=True)
def _forgetful(own: OwnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command begins with nothing in the environment."""
    monkeypatch.setenv("MMD_DDM_WEIGHTS", "")  # so that it is taken back
    monkeypatch.delenv("MMD_DDM_WEIGHTS")


def add_pictures(own: OwnData) -> None:
    for i in range(5):
        picture(own.photos / f"new {i}.png", 100 + i)


def change_tensor(file: Path) -> None:
    """One weight of one tensor is another, the file is as large as before."""
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(file)
    next(tensor for tensor in tensors.values() if tensor.dtype == torch.float32).view(-1)[0] += 1
    save_file(tensors, file, metadata)


def change_base(own: OwnData) -> None:
    change_tensor(own.base / "unet" / "diffusion_pytorch_model.safetensors")


def change_schedule(own: OwnData) -> None:
    file = own.base / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "beta_end": 0.021}))


def change_features(own: OwnData) -> None:
    change_tensor(own.weights / "own_classifier.safetensors")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (add_pictures, "images"),
        (change_base, "base model"),
        (change_schedule, "base model"),
        (change_features, "weights of classifier"),
    ],
)
def test_a_run_is_not_continued_with_other_content_at_the_same_paths(
    change: Callable[[OwnData], None], what: str, own: OwnData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = (own.photos, own.base, own.weights)
    for place in places:
        shutil.copytree(place, tmp_path / place.name)
    change(own)
    try:
        assert main(["finetune", "--resume", "--updates", "3", "--output", "run"]) == 2
    finally:
        for place in places:
            shutil.rmtree(place)
            shutil.copytree(tmp_path / place.name, place)
    said = capsys.readouterr().err.splitlines()[-1]
    then = Origins.read(Path("run")).fingerprints[what]
    assert f"the fingerprint of {what} was {then!r} and is " in said
    assert said.count(" was '") == 1  # nothing else has changed


def test_a_resumed_run_finds_the_weights_that_it_began_with(own: OwnData) -> None:
    shutil.copytree("run", "again")
    assert main(["finetune", "--resume", "--updates", "3", "--output", "again"]) == 0
    assert json.loads((Path("again") / "config.json").read_text())["updates"] == 3


def test_a_resumed_run_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so that it is taken back
    shutil.copytree("run", "threaded")
    asked: list[str]
    for asked, used in ((["--threads", "3"], 3), ([], 3), (["--threads", "1"], 1)):
        assert main(["finetune", "--resume", "--output", "threaded", *asked]) == 0
        assert Origins.read(Path("threaded")).threads == torch.get_num_threads() == used


def test_a_model_is_scored_and_drawn_with_nothing_else_said(
    own: OwnData, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["evaluate", "--model", "run/model", "--images", "4", "--json", "scores.json"]) == 0
    assert "kid_classifier" in Path("scores.json").read_text()
    told = [each.getMessage() for each in caplog.records if "trained on other images (digits)" in each.getMessage()]
    assert len(told) == 1  # the network is that of digits
    assert "'classifier'" in told[0]
    capsys.readouterr()
    assert main(["figures", "--model", "run/model", "--images", "6", "--large", "2"]) == 0
    assert "pixels features (held out)" in capsys.readouterr().out


def test_fingerprints_are_of_content_not_of_place(own: OwnData) -> None:
    former = Origins.read(Path("run"))
    assert former.weights == str(own.weights)
    assert former.fingerprints.keys() == {"images", "base model", "weights of classifier"}
    record = json.loads((Path("run") / "model" / "mmd_ddm.json").read_text())
    beside = {"weights": former.weights, "threads": former.threads}
    assert record["origins"] == {"fingerprints": former.fingerprints, **beside}
    shutil.copytree(own.base, "elsewhere")
    from mmd_ddm.pretrained.fingerprint import model_fingerprint

    assert model_fingerprint(Path("elsewhere")).startswith(former.fingerprints["base model"])


@pytest.mark.parametrize("name", ["digits", "cifar10_small"])
def test_the_networks_that_ship_with_a_data_set_are_for_its_images(name: str, caplog: pytest.LogCaptureFixture) -> None:
    obtain(preset("best", name))
    assert caplog.records == []
