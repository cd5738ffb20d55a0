"""Own data sets are told apart where runs are recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run_folder import Scoring
from mmd_ddm.experiment.tracking.description import describe_run
from mmd_ddm.experiment.tracking.registry import Candidate


def own(data: str, name: str | None = None) -> Config:
    return Config().replace(dataset="own", data=data, resolution=8, name=name)


@pytest.mark.parametrize(
    ("data", "name", "told"),
    [
        ("/data/my photos", None, "my-photos"),
        ("/data/birds.parquet", None, "birds"),
        ("hub:owner/birds@main:data/*.parquet", None, "owner-birds"),
        ("/data/my photos", "birds of 2020", "birds of 2020"),
    ],
)
def test_own_images_are_called_as_their_folder_or_as_they_are_named(data: str, name: str | None, told: str) -> None:
    config = own(data, name)
    assert config.images_name == told
    candidate = Candidate(config, Scoring(1, 0.5, read_metrics({"kid_a": 0.1})), config, 4, {})
    assert candidate.name == f"mmd-ddm-{told}-5steps"
    assert candidate.tags["dataset"] == told
    assert f"the {told} base model" in describe_run("Run", config)


def test_others_have_their_name_from_the_catalogue(tmp_path: Path) -> None:
    assert Config().replace(data=str(tmp_path)).images_name == "digits"
    with pytest.raises(UserError, match="name is 'x', but it is for images of one's own"):
        Config().replace(name="x")


@pytest.mark.parametrize("name", ["a/b", "", ".", "x" * 81, "a\nb"])
def test_a_name_that_folders_and_mlflow_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="it must be a letter or digit"):
        own("/data", name)


def test_a_run_may_be_continued_under_another_name() -> None:
    assert own("/data", "a").trajectory() == own("/data", "b").trajectory()
