"""What happens to a study whose processes are killed, interrupted, or lose Ray: the trials stand, and go on."""

from __future__ import annotations

import csv
import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.running import Running

pytestmark = [pytest.mark.slow, pytest.mark.faults]
FAKE = Path(__file__).parents[1] / "tune" / "commands" / "fake_study.py"
NEW = ("--dataset", "digits", "--output", "s", "--updates", 20, "--scorings", 4, "--concurrent", 1)
TRIALS = 3


def starts(folder: Path, trial: int) -> list[tuple[int, int]]:
    """From which update each process of a trial started, and its number."""
    file = folder / "s" / "trials" / f"{trial:03d}" / "starts"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def leaderboard(folder: Path) -> list[dict[str, str]]:
    """The rows by trial, without the time that each took."""
    with (folder / "s" / "leaderboard.csv").open() as stream:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]
    return sorted(rows, key=lambda row: row["trial"])


def at_checkpoint(folder: Path, trial: int, update: int) -> bool:
    file = folder / "s" / "trials" / f"{trial:03d}" / "checkpoint" / "update"
    try:
        return int(file.read_text()) >= update
    except (OSError, ValueError):
        return False


def runs(folder: Path) -> dict[str, str]:
    """The state of each MLflow run by trial, none twice."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    names = [run.data.tags.get("trial", "study") for run in found]
    assert len(set(names)) == len(names)
    return {name: run.info.status for name, run in zip(names, found, strict=True)}


def resumed(folder: Path, **variables: str) -> int:
    return Running(folder, FAKE, "--resume", "s", **variables).ended()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The leaderboard of a study that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Running(folder, FAKE, *NEW, "--trials", TRIALS).ended() == 0
    return leaderboard(folder)


def assert_same(folder: Path, undisturbed: list[dict[str, str]]) -> None:
    assert leaderboard(folder) == undisturbed
    assert runs(folder) == {
        "study": "FINISHED",
        **{str(int(row["trial"])): "FINISHED" if row["outcome"] == "completed" else "KILLED" for row in undisturbed},
    }


def test_a_trial_goes_on_after_its_process_was_killed_and_is_taken_up_where_it_died_too_often(tmp_path: Path) -> None:
    # with this seed one trial diverges, one dies, whenever it is started, until it is mended
    new = (*NEW, "--trials", 3, "--space", "learning_rate=0.9,0.3", "--seed", 6)
    study = Running(tmp_path, FAKE, *new, FAKE_PAUSE="0.1")
    study.wait_until(lambda: at_checkpoint(tmp_path, 0, 5))
    os.kill(starts(tmp_path, 0)[0][1], signal.SIGKILL)
    assert study.ended() == 0, study.errors
    assert [begun for begun, _ in starts(tmp_path, 0)] == [0, starts(tmp_path, 0)[1][0]]
    assert starts(tmp_path, 0)[1][0] in (5, 10)  # its last checkpoint
    rows = {row["learning_rate"]: row for row in leaderboard(tmp_path)}
    assert {rate: row["outcome"] for rate, row in rows.items()} == {
        "5e-06": "completed", "0.9": "failed", "0.3": "failed"
    }  # fmt: skip
    assert "its process died; it goes on from its checkpoint in another (1 of 2)" in study.said
    diverged, died = int(rows["0.9"]["trial"]), int(rows["0.3"]["trial"])
    assert (len(starts(tmp_path, diverged)), len(starts(tmp_path, died))) == (1, 3)
    assert rows["0.9"]["reason"].endswith("diverged")
    assert rows["0.3"]["reason"].startswith("its process died")

    (tmp_path / "s" / "mended").touch()
    assert resumed(tmp_path) == 0
    rows = {row["learning_rate"]: row for row in leaderboard(tmp_path)}
    assert rows["0.3"]["outcome"] in ("completed", "stopped")
    assert rows["0.9"]["outcome"] == "failed"
    assert (len(starts(tmp_path, 0)), len(starts(tmp_path, diverged)), len(starts(tmp_path, died))) == (2, 1, 4)
    assert "RUNNING" not in runs(tmp_path).values()


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "ctrl-c twice"])
def test_a_study_ends_in_order_when_it_is_asked_to(how: str, tmp_path: Path, undisturbed: list[dict[str, str]]) -> None:
    study = Running(tmp_path, FAKE, *NEW, "--trials", TRIALS, FAKE_PAUSE="0.5")
    study.wait_until(lambda: at_checkpoint(tmp_path, 1, 5))
    time.sleep(1)
    if how == "sigterm":
        study.process.terminate()
    else:
        study.ctrl_c()
    if how == "ctrl-c twice":
        time.sleep(0.1)
        study.ctrl_c()
    assert study.ended(60) == 130, study.errors
    assert f"python tune/search.py --resume {tmp_path / 's'} goes on" in study.said + study.errors
    assert "Traceback" not in study.errors
    if how != "ctrl-c twice":
        assert "RUNNING" not in runs(tmp_path).values()
    assert resumed(tmp_path) == 0
    (_, (begun, _)) = starts(tmp_path, 1)
    assert begun == 5 if how == "ctrl-c twice" else begun > 5
    assert len(starts(tmp_path, 0)) == 1
    assert_same(tmp_path, undisturbed)


@pytest.mark.parametrize("title", ["gcs_server", "raylet/raylet", "fake_study.py"])
def test_a_study_that_loses_ray_or_its_driver_says_so_and_goes_on(
    title: str, tmp_path: Path, undisturbed: list[dict[str, str]]
) -> None:
    study = Running(tmp_path, FAKE, *NEW, "--trials", TRIALS, FAKE_PAUSE="0.5")
    study.wait_until(lambda: at_checkpoint(tmp_path, 1, 5))
    study.kill(title)
    killed = title == "fake_study.py"
    assert study.ended(15) == (-signal.SIGKILL if killed else 1), study.errors
    if not killed:
        assert f"has ended; python tune/search.py --resume {tmp_path / 's'} goes on" in study.errors
    assert resumed(tmp_path) == 0
    (_, (begun, _)) = starts(tmp_path, 1)
    assert begun in (5, 10)
    assert len(starts(tmp_path, 0)) == 1
    assert_same(tmp_path, undisturbed)
