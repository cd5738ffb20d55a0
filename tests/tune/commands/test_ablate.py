"""Ablations from the command line: wrong input, with runs that do not finetune (slow), and with some that do (slow)."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmd_ddm.experiment.presets import preset
from tests.tune.commands.driver import assert_refused, kill_when, wait_for_end
from tune.ablate import main, parser
from tune.space.space import Space
from tune.study.settings import AblationSettings, Machines, SearchSettings, write_settings

ROOT = Path(__file__).resolve().parents[3]
FAKE, REAL = Path(__file__).with_name("fake_ablation.py"), ROOT / "tune" / "ablate.py"
DIGITS = ["--dataset", "digits"]
VII = ["--table", "VII", *DIGITS]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    config, machines = preset("paper", "digits"), Machines(0, 0, 1)
    search = SearchSettings(config, config, Space({}), 1, 0, 100, machines)
    for name, settings in (("search", search), ("bare", AblationSettings(config, machines))):
        (tmp_path / name).mkdir()
        write_settings(tmp_path / name, settings)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one of --table I..IX, --grid"),
        ([*VII, "--grid", "kernel=cubic"], "name one of --table I..IX, --grid"),
        (["--table", "X", *DIGITS], "invalid choice: 'X'"),
        (["--table", "VII"], "the paper's table is on cifar10"),
        (["--grid", "kernel=cubic"], "--dataset is missing"),
        ([*VII, "--nope"], "unrecognized arguments: --nope"),
        ([*VII, "--steps", "5,0"], "0 is not a positive whole number"),
        ([*VII, "--steps", "5,2000"], "a budget is 1 to 1000"),
        ([*VII, "--seeds", "0"], "0 is not a positive whole number"),
        ([*VII, "--final-images", "3"], "need at least 4"),
        ([*VII, "--preset", "nope"], "preset is 'nope'"),
        (["--table", "VII", "--dataset", "nope"], "There is no data set 'nope'"),
        (["--grid", "nope=1", *DIGITS], "'nope' can't be compared"),
        (["--grid", "kernel=foo", *DIGITS], "kernel term 'foo' is not known"),
        (["--grid", "steps=5", *DIGITS, "--steps", "5"], "the budgets are named twice"),
        ([*VII, "--output", "file/a"], "can't be written (Not a directory)"),
        ([*VII, "--output", "search"], "search holds a search"),
        (["--resume", "search"], "continue it with python tune/search.py --resume search"),
        (["--resume", "empty"], "there is no study in empty"),
        (["--resume", "bare"], "bare has no grid yet"),
        (["--resume", "empty", "--seeds", "2"], "--seeds can't be changed"),
        (["--resume", "empty", "--grid", "kernel=cubic"], "--grid can't be changed"),
    ],
)
def test_one_sentence_and_nothing_left(here, capsys, arguments, words):
    assert_refused(main, arguments, words, here, capsys)


def test_a_server_that_does_not_answer_is_found_before_anything_starts(here, capsys, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert_refused(main, VII, "unset RAY_ADDRESS", here, capsys)


def test_the_search_does_not_take_an_ablation_for_a_study_of_its_own(here, capsys):
    from tune.search import main as search

    assert search(["--resume", "bare"]) == 2
    assert "continue it with python tune/ablate.py --resume bare" in capsys.readouterr().err


def test_help_names_all_tables_and_examples():
    text = parser().format_help()
    for name in ("I ", "II ", "III ", "IV ", "V ", "VI ", "VII ", "VIII ", "IX "):
        assert f"\n  {name}" in text
    assert text.count("python tune/ablate.py --") >= 5


def ablate(folder, *arguments, script=FAKE, **variables):
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env={**kept, **variables}, capture_output=True, text=True, timeout=300, check=False
    )


def starts(folder):
    return {int(each.parent.name): len(each.read_text().split()) for each in sorted(folder.glob("trials/*/starts"))}


def read(file):
    with file.open() as stream:
        return list(csv.DictReader(stream))


def kids(file):
    return {row["row"]: row for row in read(file) if row["metric"] == "kid" and row["space"] == "classifier"}


def recorded(folder):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return client, {run.data.tags.get("trial", "ablation"): run for run in found}


@pytest.mark.slow
def test_failures_are_told_and_retried_and_grids_share_their_cells(tmp_path):
    grid = ["--grid", "learning_rate=1e-3,2e-3,0.9,0.25", *DIGITS, "--seeds", 2, "--final-images", 50, "--output", "a"]
    ended = ablate(tmp_path, *grid)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "a"
    assert starts(folder) == dict.fromkeys(range(8), 1)
    assert ended.stdout.count("the run diverged; python tune/ablate.py --resume") == 2
    assert ended.stdout.count("its process died") >= 2
    rows = kids(folder / "grid-learning_rate.csv")
    assert [rows[name]["mean"] for name in ("learning_rate=0.001", "learning_rate=0.002")] == ["0.1005", "0.2005"]
    assert rows["learning_rate=0.001"]["verdict"] == "best"
    assert rows["learning_rate=0.002"]["verdict"] == "behind"  # 0.1 against an error of 0.0007
    assert "diverged" in rows["learning_rate=0.9"]["status"]
    assert not rows["learning_rate=0.9"]["mean"]
    assert (folder / "grid-learning_rate.png").stat().st_size > 10_000
    assert not (folder / ".ray").exists()

    client, runs = recorded(tmp_path)
    assert len(runs) == 9
    parent = runs.pop("ablation")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert sorted(run.info.status for run in runs.values()) == ["FAILED"] * 4 + ["FINISHED"] * 4
    assert runs["0"].data.metrics["final_kid_classifier"] == pytest.approx(0.1)
    names = {each.path for each in client.list_artifacts(parent.info.run_id)}
    assert names == {f"grid-learning_rate.{end}" for end in ("md", "html", "csv", "png")}

    (tmp_path / "mended").touch()
    again = ablate(tmp_path, "--resume", "a")
    assert again.returncode == 0, again.stderr
    assert list(starts(folder).values()) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert kids(folder / "grid-learning_rate.csv")["learning_rate=0.9"]["mean"] == "90.0005"
    _, runs = recorded(tmp_path)
    assert len(runs) == 9  # the retried ones went on under their own names
    assert (
        sorted(run.info.status for key, run in runs.items() if key != "ablation") == ["FAILED"] * 2 + ["FINISHED"] * 6
    )

    other = ablate(tmp_path, "--grid", "learning_rate=2e-3,3e-3", "kernel=rational_quadratic", *DIGITS, "--seeds", 2,
                   "--final-images", 50, "--output", "a")  # fmt: skip
    assert other.returncode == 0, other.stderr
    # kernel and learning rate of the first are the preset's: its cells are those of the former grid
    assert list(starts(folder).values()) == [1, 1, 1, 1, 2, 2, 2, 2, 1, 1]
    assert all(len(log.read_text().split()) == 1 for log in folder.glob("*/*/scorings"))


@pytest.mark.slow
def test_without_a_completed_cell_the_status_is_1(tmp_path):
    ended = ablate(
        tmp_path, "--grid", "learning_rate=0.9", *DIGITS, "--seeds", 1, "--final-images", 50, "--output", "a"
    )
    assert ended.returncode == 1, ended.stderr
    assert "no cell was completed" in ended.stdout
    assert "failed" in (tmp_path / "a" / "grid-learning_rate.md").read_text()


@pytest.mark.slow
def test_a_killed_ablation_goes_on_where_it_was(tmp_path):
    grid = ["--grid", "learning_rate=1e-3,2e-3,3e-3", *DIGITS, "--seeds", "1", "--final-images", "50", "--output", "a"]
    command = [sys.executable, str(FAKE), *grid, "--concurrent", "1"]
    folder, kept = tmp_path / "a", {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    begun = folder / "trials" / "001" / "starts"
    kill_when(begun, command, tmp_path, {**kept, "FAKE_PAUSE": "3"})
    wait_for_end(int(begun.read_text().split()[0]))
    ended = ablate(tmp_path, "--resume", "a")
    assert ended.returncode == 0, ended.stderr
    assert starts(folder) == {0: 1, 1: 2, 2: 1}
    assert all(row["mean"] for row in read(folder / "grid-learning_rate.csv"))
    assert sorted(recorded(tmp_path)[1]) == ["0", "1", "2", "ablation"]


@pytest.mark.slow
def test_digits_from_end_to_end(tmp_path):
    table = [*VII, "--steps", 2, "--updates", 3, "--seeds", 1, "--final-images", 60, "--output", "a"]
    ended = ablate(tmp_path, *table, script=REAL)
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "a"
    for file in (folder / "trials").iterdir():
        names = {each.name for each in file.iterdir()}
        assert {"config.json", "metrics.jsonl", "baseline.json", "model", "outcome.json", "final_60.json"} <= names
    rows = read(folder / "table-VII.csv")
    assert all(row["mean"] and row["status"] == "complete" for row in rows)
    by_role = {(row["row"], row["space"]): row["role"] for row in rows}
    assert by_role["quadratic", "classifier"] == "trained"
    assert by_role["quadratic", "contrastive"] == "held out"
    # the base model is measured with the finetuned one's timesteps, and these differ
    base = {row["row"]: row["mean"] for row in rows if row["role"] == "base model" and row["metric"] == "kid"}
    assert len(set(base.values())) == 2

    again = ablate(tmp_path, "--resume", "a", script=REAL)
    assert again.returncode == 0, again.stderr
    assert "0 cells to run, 2 are there already" in again.stdout
    assert read(folder / "table-VII.csv") == rows
