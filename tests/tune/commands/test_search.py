"""The search from the command line: with trials that do not finetune, and (slow) with some that do."""

import csv
import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from mmd_ddm.experiment.presets import preset
from tests.tune.commands.driver import kill_when, wait_for_end
from tune.space.parse import read_space
from tune.space.space import default_space
from tune.study.settings import Machines, SearchSettings

ROOT = Path(__file__).resolve().parents[3]
FAKE, SPY = (Path(__file__).with_name(name) for name in ("fake_study.py", "spied_study.py"))
REAL = ROOT / "tune" / "search.py"
STATES = optuna.trial.TrialState


def environment(**variables):
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    return {**kept, **variables}


def search(folder, *arguments, script=FAKE, **variables):
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=300, check=False
    )


def fake(folder, *arguments, **variables):
    return search(folder, "--updates", 8, "--scorings", 4, "--concurrent", 1, *arguments, **variables)


def leaderboard(study):
    with (study / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


def runs(folder, study=None):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.search_runs([each.experiment_id for each in client.search_experiments()])
    found = [run for run in found if study is None or run.data.tags["study"] == study]
    return client, {run.data.tags.get("trial", "study"): run for run in found}


def widest(base, space):
    machines = Machines(0, 0, 1)
    return SearchSettings(base, base, read_space(default_space(base), space, base), 2, 0, 8, machines).widest


def test_all_features_that_trials_may_train_in_are_had_beforehand():
    base = preset("best", "cifar10").replace(features="clip")
    found = widest(base, ["features=inception,clip,dinov2+0.5*inception", "steps=3,20,10", "batch=16..64"])
    assert found.objective.features == "clip+inception+dinov2"
    assert (found.sampler.steps, found.optimization.batch) == (20, 64)
    found = widest(base, ["features=clip"])
    assert found == base


@pytest.mark.slow
def test_a_study_ranks_stops_survives_failures_and_records(tmp_path):
    rates = "learning_rate=1e-4,1e-9,0.9,0.3"
    ended = fake(tmp_path, "--dataset", "digits", "--output", "s", "--trials", 9, "--space", rates, "--seed", 1)
    assert ended.returncode == 0, ended.stderr
    study = tmp_path / "s"
    rows = {int(row["trial"]): row for row in leaderboard(study)}
    assert len(rows) == 9
    by_rate = {
        "0.0001": {"completed", "stopped"},  # the worse of two good ones may be stopped
        "1e-09": {"stopped"},
        "0.9": {"failed"},
        "0.3": {"failed"},
        "5e-06": {"completed"},
    }
    for row in rows.values():
        assert row["outcome"] in by_rate[row["learning_rate"]], row
    assert {row["outcome"] for row in rows.values()} == {"completed", "stopped", "failed"}
    assert rows[0]["learning_rate"] == "5e-06"  # the paper's, outside of the space
    reasons = {row["learning_rate"]: row["reason"] for row in rows.values()}
    assert reasons.get("0.9", "diverged").endswith("diverged")
    assert "died" in reasons.get("0.3", "died")

    best = min((r for r in rows.values() if r["outcome"] == "completed"), key=lambda r: float(r["score"]))
    assert best["rank"] == "1"
    assert json.loads((study / "best" / "model_index.json").read_text())["number"] == int(best["trial"])
    assert (study / "curves.png").stat().st_size > 10_000
    assert not (study / "pareto.png").exists()
    page = (study / "report.html").read_text()
    assert all(row["reason"] in html.unescape(page) for row in rows.values())
    assert f"trial {int(best['trial']):03d}" in (study / "report.md").read_text()
    assert "mlflow ui" in ended.stdout
    assert not (study / ".ray").exists()

    client, recorded = runs(tmp_path)
    status = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    assert recorded["study"].info.status == "FINISHED"
    for number, row in rows.items():
        run = recorded[str(number)]
        assert run.info.status == status[row["outcome"]]
        assert run.data.tags["mlflow.parentRunId"] == recorded["study"].info.run_id
        assert run.data.tags.get("reason", "") == row["reason"]
        assert run.data.params.keys() == recorded["0"].data.params.keys()
        models = [each.path for each in client.list_artifacts(run.info.run_id)]
        assert ("model" in models) == (row["outcome"] == "completed")
    assert len(client.get_metric_history(recorded["0"].info.run_id, "mmd2")) == 8

    told = optuna.load_study(study_name="mmd-ddm", storage=f"sqlite:///{study / 'optuna.db'}").get_trials()
    expected = {"completed": STATES.COMPLETE, "stopped": STATES.PRUNED, "failed": STATES.FAIL}
    assert [trial.state for trial in told] == [expected[rows[n]["outcome"]] for n in range(9)]


@pytest.mark.slow
def test_a_study_of_several_budgets_has_two_objectives_and_goes_on(tmp_path):
    arguments = ["--dataset", "digits", "--output", "s", "--space", "steps=3,5,10", "--space", "learning_rate=1e-4"]
    ended = fake(tmp_path, *arguments, "--trials", 5)
    assert ended.returncode == 0, ended.stderr
    study = tmp_path / "s"
    again = search(tmp_path, "--resume", study, "--trials", 9)
    assert again.returncode == 0, again.stderr
    rows = leaderboard(study)
    assert len(rows) == 9
    known = optuna.load_study(study_name="mmd-ddm", storage=f"sqlite:///{study / 'optuna.db'}")
    assert len(known.directions) == 2
    by_number = {int(row["trial"]): row for row in rows}
    for trial in known.get_trials():
        row = by_number[trial.number]
        if row["outcome"] == "completed":
            assert trial.values[1] == int(row["steps"])
            assert trial.values[0] == pytest.approx(float(row["score"]), rel=1e-5)
        else:
            assert trial.state is STATES.PRUNED
    assert (study / "pareto.png").stat().st_size > 10_000
    assert "## Score against network evaluations (NFE)" in (study / "report.md").read_text()


@pytest.mark.slow
def test_a_study_without_a_completed_trial_ends_with_status_1(tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rate: [0.9]\n")
    # trial 0, the paper's, is made to fail as well
    ended = fake(tmp_path, "--dataset", "digits", "--trials", 2, "--space", "space.yaml", "--base-model", "digits",
                 FAKE_PAUSE="-1")  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    assert "no trial was completed" in ended.stdout


@pytest.mark.slow
def test_a_study_that_does_not_beat_the_base_model_ends_with_status_3_and_registers_nothing(tmp_path):
    rates = "learning_rate=1e-4,2e-4"
    ended = fake(tmp_path, "--dataset", "digits", "--output", "s", "--trials", 2, "--space", rates, FAKE_GAIN="0.5")
    assert ended.returncode == 3, ended.stderr
    assert "No trial beats the base model with 5 evaluations." in ended.stdout
    assert not (tmp_path / "s" / "best").exists()
    client, recorded = runs(tmp_path)
    assert client.search_registered_models() == []
    tags = recorded["study"].data.tags
    assert tags["beats_base_model"] == "no"
    assert "best_trial" not in tags
    assert tags["mlflow.note.content"].split("\n\n")[1].startswith("No trial beats the base model")

    # one that does: a resumed study scores anew what it has no scores of
    (tmp_path / "s" / "scores.json").unlink()
    again = search(tmp_path, "--resume", tmp_path / "s")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "s" / "best").is_dir()
    client, recorded = runs(tmp_path)
    assert recorded["study"].data.tags["beats_base_model"] == "yes"
    version = client.get_model_version_by_alias("mmd-ddm-digits-5steps", "best")
    assert int(version.tags["trial"]) == int(recorded["study"].data.tags["best_trial"])
    assert version.tags["update"] == recorded[version.tags["trial"]].data.tags["kept_update"] == "8"


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was(tmp_path):
    arguments = ["--dataset", "digits", "--output", "s", "--trials", "4", "--updates", "20", "--scorings", "4"]
    command = [sys.executable, str(FAKE), *arguments, "--concurrent", "1"]
    study = tmp_path / "s"
    trial = study / "trials" / "001"
    kill_when(trial / "checkpoint" / "update", command, tmp_path, environment(FAKE_PAUSE="0.2"))
    wait_for_end(int((trial / "starts").read_text().split()[1]))

    ended = search(tmp_path, "--resume", study)
    assert ended.returncode == 0, ended.stderr
    starts = {n: (study / "trials" / f"{n:03d}" / "starts").read_text().split()[::2] for n in range(4)}
    assert starts[0] == ["0"]  # was completed and is not repeated
    assert starts[1][0] == "0"
    assert int(starts[1][1]) >= 5  # went on from its checkpoint
    assert starts[2] == starts[3] == ["0"]
    rows = leaderboard(study)
    assert len({(row["learning_rate"], row["kernel"], row["features"]) for row in rows}) == 4
    assert all(row["outcome"] in ("completed", "stopped") for row in rows)

    client, recorded = runs(tmp_path)
    assert sorted(recorded) == ["0", "1", "2", "3", "study"]
    steps = [metric.step for metric in client.get_metric_history(recorded["1"].info.run_id, "mmd2")]
    assert steps == sorted(set(steps))  # none twice

    again = search(tmp_path, "--resume", study)  # nothing is left to do
    assert again.returncode == 0, again.stderr
    assert leaderboard(study) == rows


def real(folder, output, *arguments):
    fixed = ["--dataset", "digits", "--updates", 4, "--scorings", 2, "--score-images", 100, "--concurrent", 1,
             "--final-images", 60]  # fmt: skip
    return search(folder, *fixed, "--output", output, *arguments, script=SPY)


@pytest.mark.slow
def test_workers_and_tunes_own_process_give_the_same_numbers_and_leave_nothing_behind(tmp_path):
    # worse than the paper's, so they are stopped
    slow = ["--space", "learning_rate=1e-9", "--space", "schedule=linear"]
    here = real(tmp_path, "here", "--trials", 3, *slow, "--workers-per-trial", 0)
    there = real(tmp_path, "there", "--trials", 2, *slow, "--workers-per-trial", 1)
    # four updates of the paper's rate beat nothing
    assert (here.returncode, there.returncode) == (3, 3), here.stderr + there.stderr
    ours, theirs = (leaderboard(tmp_path / name) for name in ("here", "there"))
    assert [row["outcome"] for row in theirs] == ["completed", "stopped"]
    for row in theirs:
        (same,) = (each for each in ours if each["trial"] == row["trial"])
        measured = [key for key in row if key.startswith(("score", "kid_", "fid_"))]
        assert [same[key] for key in measured] == [row[key] for key in measured]
    assert "placement groups: []" in here.stdout
    assert "placement groups: []" in there.stdout
    assert not (tmp_path / "there" / "best").exists()
    assert (tmp_path / "there" / "trials" / "000" / "model" / "unet" / "config.json").is_file()
    assert not (tmp_path / "there" / "trials" / "001" / "model").exists()  # it was stopped
    for study in ("here", "there"):
        sheets = {each.stem for each in (tmp_path / study / "samples").iterdir()}
        assert {"real", "base_5", "base_20", "base_50"} < sheets
        assert {name for name in sheets if name.startswith("finetuned_")}
        check_pages(tmp_path, tmp_path / study)


def check_pages(folder, study):
    """What MLflow's pages and the report show of a study whose trials finetuned."""
    client, recorded = runs(folder, study.name)
    trials = {number: run for number, run in recorded.items() if number != "study"}
    params, evaluated = [set(run.data.params) for run in trials.values()], []
    assert all(each == params[0] for each in params)
    for run in trials.values():
        assert {"kernel", "features", "schedule", "sampler", "steps", "outcome"} <= set(run.data.tags)
        evaluated.append({name for name in run.data.metrics if name.startswith(("kid_", "fid_"))})
        assert {"score", "mmd2", "grad_norm"} <= set(run.data.metrics)
        images = [each.path for each in client.list_artifacts(run.info.run_id, "images")]
        steps = {int(re.search(r"samples.*?step.*?(\d+)", path)[1]) for path in images}
        assert max(steps) == max(metric.step for metric in client.get_metric_history(run.info.run_id, "score"))
    assert all(names == evaluated[0] for names in evaluated)  # of the stopped ones too
    own = recorded["study"]
    budgets = [metric.step for metric in client.get_metric_history(own.info.run_id, "base_kid_classifier")]
    assert budgets == [5, 20, 50]
    assert {"finetuned_kid_contrastive", "real_fid_classifier_898"} <= set(own.data.metrics)
    report = (study / "report.md").read_text()
    about, verdict, *_ = own.data.tags["mlflow.note.content"].split("\n\n")
    assert about.startswith(f"Search {study.name}")
    assert verdict in report
    artifacts = {each.path for each in client.list_artifacts(own.info.run_id)}
    figures = {"curves.png", "samples.png"}
    assert artifacts == {"leaderboard.csv", "report.md", "report.html", "scores.json", *figures}
    code = report.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code, names)
    assert len(names["images"]) == 16
