"""Models by their address in MLflow."""

import json
import shutil
from pathlib import Path

import pytest

from mmd_ddm.cli.main import main
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.tracking.model_uri import resolve
from mmd_ddm.experiment.tracking.registry import Candidate
from mmd_ddm.experiment.tracking.tracker import Tracker, model_artifact
from mmd_ddm.pretrained.locate import SHIPPED

NAME = "mmd-ddm-digits-5steps"


@pytest.fixture
def run_id(store, finetuned, config):
    """A run with the shipped model as its own, registered."""
    folder, tracker = finetuned("one", 8), Tracker("mmd-ddm digits")
    shutil.rmtree(folder / "model")
    shutil.copytree(SHIPPED / "digits", folder / "model")
    run = tracker.follow(folder, name="one", description="", params=config.flat(), tags={})
    run.close("FINISHED", {}, model_artifact(folder))
    tracker.register(folder, Candidate(config, Scoring(8, 0.5, ()), config, 100, {}))
    assert tracker.close() == []
    return run.run_id


def test_a_name_that_is_no_address_is_left_to_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "./runs", "owner/name@main", "/models/x"):
        assert resolve(name) == name
    assert list(tmp_path.iterdir()) == []


def test_every_address_of_a_model_in_a_local_store_is_the_folder_where_it_lies(run_id, tmp_path):
    expected = tmp_path / "mlruns" / run_id / "artifacts" / "model"
    for address in (f"runs:/{run_id}", f"runs:/{run_id}/", f"runs:/{run_id}/model", f"models:/{NAME}/1",
                    f"models:/{NAME}@best"):  # fmt: skip
        assert Path(resolve(address)) == expected, address
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["locks"]  # nothing is copied there
    assert resolve(f"runs:/{run_id}/model/unet") == str(expected / "unet")


def test_the_command_samples_from_an_address(run_id, tmp_path, capsys):
    options = ["--images", "3", "--steps", "2", "--output"]
    assert main(["sample", *options, "shipped"]) == 0
    for output, address in (("a", f"runs:/{run_id}"), ("b", f"models:/{NAME}@best")):
        assert main(["sample", "--model", address, *options, output]) == 0, capsys.readouterr().err
        for i in range(3):
            file = f"{i:06d}.png"
            assert (tmp_path / output / file).read_bytes() == (tmp_path / "shipped" / file).read_bytes()


def test_a_model_in_another_place_is_downloaded_once(store, tmp_path, monkeypatch):
    import mlflow.artifacts

    asked = []

    def download(artifact_uri, dst_path, tracking_uri):
        asked.append(artifact_uri)
        if len(asked) == 1:
            (Path(dst_path) / "half").touch()
            raise OSError("the connection broke\nand more")
        return shutil.copytree(SHIPPED / "digits", Path(dst_path) / "model")

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    store.create_registered_model("name")
    store.create_model_version("name", "s3://bucket/../a b/model")
    with pytest.raises(UserError, match=r"can't be had from s3://[^\n]*: the connection broke$"):
        resolve("models:/name/1")
    folders = {Path(resolve("models:/name/1")) for _ in range(2)}
    assert folders == {tmp_path / "cache/mlflow/s3/bucket/a-b/model"}
    assert len(asked) == 2
    (folder,) = folders
    assert json.loads((folder / "model_index.json").read_text())["unet"]
    assert [each.name for each in folder.parent.iterdir() if each.is_dir()] == ["model"]  # nothing half


def test_what_is_not_there_is_said_in_one_sentence(store, run_id, finetuned, config, tmp_path):
    tracker = Tracker("mmd-ddm digits")
    stopped = tracker.follow(finetuned("stopped", 4), name="stopped", description="", params=config.flat(), tags={})
    study = tracker.follow(
        tmp_path / "runs", name="study", description="", params=config.flat(), tags={"best_trial": "001"}
    )
    assert tracker.close() == []
    for address, said in {
        "runs:/0123": "there is no run 0123",
        f"runs:/{run_id}/modle": r"has no modle .* it has images, model$",
        f"runs:/{stopped.run_id}": "holds no model: it was not completed",
        f"runs:/{study.run_id}": "a study, name the run of its trial 001",
        "models:/other/1": "no version 1 of a registered model other",
        f"models:/{NAME}/9": "no version 9",
        f"models:/{NAME}/latest": "no version latest",
        f"models:/{NAME}@worst": "no alias worst",
        f"models:/{NAME}": "is no address",
        "models:/a/b/c": "is no address",
        "runs:/": "is no address",
    }.items():
        with pytest.raises(UserError, match=rf"^[^\n]*{said}[^\n]*$"):
            resolve(address)
    shutil.rmtree(tmp_path / "mlruns" / run_id)
    with pytest.raises(UserError, match="are not on this machine"):
        resolve(f"models:/{NAME}/1")


def test_no_store_is_made_by_looking_for_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"no MLflow store .*mlflow\.db"):
        resolve("runs:/0123")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="No MLflow server answers"):
        resolve("runs:/0123")
