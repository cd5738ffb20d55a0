"""A real study of two tiny trials: Ray, Optuna, MLflow on an SQLite file, the report, and best/ loaded by diffusers."""

from __future__ import annotations

import csv
import html
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import optuna
import pytest
import torch

from tests.tune.commands.real_study import STEPS

# KID of the two presets after two updates, and of the base model. Another processor sums in another order, which moves
# some of the 64 images' grey levels by one of 255: below a hundredth of these numbers.
EXPECTED = {
    "000": {"kid_classifier": 1.544, "kid_contrastive": 2.817},
    "001": {"kid_classifier": 0.4304, "kid_contrastive": 0.8987},
}


def leaderboard(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "s" / "leaderboard.csv").open() as stream:
        return {f"{int(row['trial']):03d}": row for row in csv.DictReader(stream)}


def test_both_trials_are_completed_with_known_scores(folder: Path) -> None:
    rows = leaderboard(folder)
    assert {number: row["outcome"] for number, row in rows.items()} == {"000": "completed", "001": "completed"}
    for number, expected in EXPECTED.items():
        for name, value in expected.items():
            assert float(rows[number][name]) == pytest.approx(value, rel=0.01), (number, name)


def test_optuna_keeps_the_trials(folder: Path) -> None:
    study = optuna.load_study(study_name="mmd-ddm", storage=f"sqlite:///{folder / 's' / 'optuna.db'}")
    scores = [float(leaderboard(folder)[number]["score"]) for number in ("000", "001")]
    assert [trial.value for trial in study.get_trials()] == pytest.approx(scores, rel=1e-5)


def test_mlflow_has_the_study_its_trials_and_the_best_model(folder: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mmd-ddm digits")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"s", "s/000", "s/001"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["s"].data.metrics.keys() >= {
        "finetuned_kid_classifier",
        "base_kid_classifier",
        "real_fid_classifier_898",
    }
    files = {each.path for each in client.list_artifacts(runs["s"].info.run_id)}
    assert {"report.md", "report.html", "leaderboard.csv", "scores.json", "curves.png", "samples.png"} <= files
    for number in ("000", "001"):
        run = runs[f"s/{number}"]
        assert run.data.tags["mlflow.parentRunId"] == runs["s"].info.run_id
        assert run.data.metrics["kid_classifier"] == pytest.approx(
            float(leaderboard(folder)[number]["kid_classifier"]), rel=1e-5
        )
        assert [each.path for each in client.list_artifacts(run.info.run_id, "model")]
    version = client.get_model_version_by_alias(f"mmd-ddm-digits-{STEPS}steps", "best")
    assert version.run_id == runs[f"s/{best(folder)}"].info.run_id


def best(folder: Path) -> str:
    (number,) = re.findall(r"best model: .*\(trial (\d+)", (folder / "said.txt").read_text())
    return str(number)


def test_mlflows_pages_are_told_with_both_trials_chosen(folder: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mmd-ddm digits").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    ids = [runs[name].info.run_id for name in ("s/000", "s/001")]
    addresses = [
        f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?workflowType=machine_learning",
        f"http://127.0.0.1:5000/#/compare-runs?runs=[%22{ids[0]}%22,%22{ids[1]}%22]&experiments=[%22{experiment}%22]",
    ]
    page, said = (folder / "s" / "report.html").read_text(), (folder / "said.txt").read_text()
    # Markdown's links have brackets as %5B and %5D
    assert [unquote(html.unescape(each)) for each in re.findall(r'href="([^"]*)"', page)] == list(
        map(unquote, addresses)
    )
    assert all(each in said for each in addresses)
    for name in ("s/000", "s/001"):  # what MLflow draws first: three settings that differ, and the first metric
        assert next(iter(runs[name].data.metrics)) == "score"
    params = [runs[name].data.params for name in ("s/000", "s/001")]
    assert params[0].keys() == params[1].keys()
    differ = {key for key in params[0] if params[0][key] != params[1][key]}
    assert differ == {"bandwidth", "features", "kernel", "learning_rate"}
    assert runs["s/000"].data.tags["clip"] == "none"


def test_the_report_is_one_page_with_its_figures_inside(folder: Path) -> None:
    page, text = ((folder / "s" / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert page.count("data:image/png;base64,") == text.count("![") == 2
    assert not re.findall(r'src="https?:', page)
    assert f"trial {best(folder)}" in text
    assert not (folder / "s" / ".ray").exists()


def test_diffusers_alone_samples_from_the_best_model_what_this_package_does(folder: Path) -> None:
    from diffusers import DDIMPipeline

    import mmd_ddm

    pipeline = DDIMPipeline.from_pretrained(folder / "s" / "best")
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(batch_size=4, num_inference_steps=STEPS, generator=torch.manual_seed(3), output_type="np").images
    ours = mmd_ddm.sample(folder / "s" / "best", 4, seed=3).clamp(-1, 1)
    theirs = 2 * torch.from_numpy(np.asarray(made)).movedim(3, 1) - 1
    assert float((ours - theirs).abs().max()) < 2e-5  # ten times what float32 rounds over two steps
