"""An MLflow store in a folder of its own, with runs as finetuning leaves them."""

import json
import shutil

import pytest
from PIL import Image

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import append_row
from mmd_ddm.experiment.tracking import tracker as tracking


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A database with MLflow's tables: making them takes seconds."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    """The client of ./mlflow.db in an empty current directory, where the cache is too."""
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    monkeypatch.setattr(tracking, "PATIENCE", 0.0)
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def finetuned(tmp_path):
    """Makes the folder of a run as `experiment.run` would: name, updates done of 8, final score."""

    def make(name, done, score=0.5):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for update in range(1, done + 1):
            append_row(folder, {"update": update, "mmd2": 1 / update, "grad_norm": 1.0})
            if update % 4 == 0:
                last = {"score_raw": score, "score_ema": 2 * score} if update == 8 else {}
                kid = {"kid_a": score, "kid_a_stderr": 0.01, "fid_a_100": score}
                images = {"images_seen": 16 * update}
                append_row(folder, {"update": update, "score": score, **kid, **images, **last, "mmd2": 1 / update})
                Image.new("L", (8, 8)).save(folder / f"samples_{update:06d}.png")
        if done == 8:
            (folder / "model").mkdir()
            (folder / "model" / "model_index.json").write_text(json.dumps({"name": name}))
        return folder

    return make


@pytest.fixture
def config():
    return Config().replace(updates=8, batch=16, score_images=100)
