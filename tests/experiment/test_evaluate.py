"""An evaluation gives the same numbers on any number of workers, and its table and words say what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mmd_ddm.cli.main import main
from mmd_ddm.evaluation.intervals import seed_interval
from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.scoring.scored_model import Scored, ScoredModel, read_scored
from mmd_ddm.experiment.scoring.table import table, verdicts
from mmd_ddm.pretrained.locate import SHIPPED


def result(role: str | None, steps: int, seed: int = 0, **scores: float) -> Scored:
    model = None if role is None else ScoredModel(role, SamplerConfig(steps=steps))
    return Scored(model, read_metrics(scores), 100, steps, seed)


def evaluate(file: Path, *options: str) -> list[Scored]:
    assert main(["evaluate", "--images", "260", "--features", "classifier", "--json", str(file), *options]) == 0
    return read_scored(file)


def test_workers_change_nothing(tmp_path: Path) -> None:
    """260 images are three batches: two workers have two of them and one."""
    options = ("--steps", "2,3", "--measures", "kid,fid,precision_recall,nn_auc")
    alone = evaluate(tmp_path / "one.json", *options)
    assert evaluate(tmp_path / "two.json", *options, "--workers", "2") == alone
    assert [each.nfe for each in alone] == [2, 3, 0]
    assert {metric.name for metric in alone[0].metrics} == {
        "kid_classifier", "fid_classifier_260", "precision_classifier", "recall_classifier", "nn_auc_classifier",
    }  # fmt: skip
    assert {metric.name for metric in alone[2].metrics} == {"kid_classifier", "fid_classifier_898"}


def test_a_finetuned_model_is_set_beside_its_base_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(SHIPPED / "digits", tuned)
    config = {"dataset": "digits", "base_model": None, "features": "contrastive", "steps": 2}
    how = {"sampler": "ddim", "steps": 2, "eta": 0.0, "variance": "model"}
    (tuned / "mmd_ddm.json").write_text(json.dumps({**how, "config": config}))
    results = evaluate(tmp_path / "scores.json", "--model", str(tuned), "--images", "8")
    found = [(each.model.role, each.nfe) if each.model else "real" for each in results]
    assert found == [("finetuned", 2), ("base", 2), ("base", 20), ("base", 50), "real"]
    assert results[0].metrics == results[1].metrics  # here it is the same network, on the same noise
    said = capsys.readouterr().out
    assert "With 2 evaluations: No trained space was measured. The held-out space, classifier" in said


def test_a_base_model_is_sampled_as_the_finetuned_one_is(tmp_path: Path) -> None:
    """The published stride makes 16 evaluations of a budget of 15; 16 given to it again would make 17."""
    tuned = tmp_path / "tuned"
    shutil.copytree(SHIPPED / "digits", tuned)
    config = {"dataset": "digits", "base_model": None, "features": "classifier", "schedule": "stride", "steps": 15}
    how = {"sampler": "ddim", "steps": 16, "eta": 0.5, "variance": "model"}
    (tuned / "mmd_ddm.json").write_text(json.dumps({**how, "config": config}))
    finetuned, base, *_ = evaluate(tmp_path / "scores.json", "--model", str(tuned), "--images", "8")
    assert finetuned.nfe == base.nfe == 16
    assert base.model is not None
    assert base.model.sampler == SamplerConfig("ddim", 15, "stride", 0.5, "model")


def test_all_samplers_that_can_have_the_budget(tmp_path: Path) -> None:
    results = evaluate(tmp_path / "scores.json", "--sampler", "all", "--steps", "2", "--images", "8")
    names = [each.model.sampler.sampler for each in results if each.model]
    assert {"ddim", "ddpm", "unipc", "deis"} <= set(names)
    assert not {"heun", "pndm"} & set(names)  # odd budgets, and 13 at least
    assert {each.nfe for each in results if each.model} == {2}


def test_seeds_are_shown_as_an_interval() -> None:
    values = [0.1, 0.2, 0.4]
    rows = [result("base", 5, seed, kid_a=value, kid_a_stderr=0.05) for seed, value in enumerate(values)]
    interval = seed_interval(values)
    text = table([*rows, result(None, 0, kid_a=0.0, kid_a_deviation=0.01, fid_a_50=1.5)])
    assert f"{interval.mean:.5f} ± {interval.high - interval.mean:.5f}" in text
    assert [line.count("|") for line in text.splitlines()] == [7] * 4
    assert "0.00000 ± 0.01000" in text


def test_verdict_of_each_common_budget() -> None:
    base = [result("base", steps, kid_a=0.1, kid_a_stderr=0.001, kid_b=0.1, kid_b_stderr=0.001) for steps in (5, 20)]
    tuned = result("finetuned", 5, kid_a=0.01, kid_a_stderr=0.001, kid_b=0.1, kid_b_stderr=0.001)
    (said,) = verdicts([tuned, *base], ["a"])
    assert said.startswith(
        "With 5 evaluations: The trained space, a (KID 0.1000 ± 0.0010 to 0.0100 ± 0.0010), improves,"
    )
    assert "held-out space, b" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--images", "3"], "images is 3"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--measures", "kid,fidd"], "'fidd'"),
        (["--sampler", "heun", "--steps", "10"], "9 or 11"),
        (["--sampler", "unknown", "--steps", "10"], "'unknown'"),
        (["--steps", "5;10"], "--steps"),
        (["--eta", "5"], "eta is 5"),
        (["--sampler", "ddpm", "--eta", "0.5"], "belongs to sampler ddim"),
        (["--model", "no/such/model"], "no/such/model"),
    ],
)
def test_wrong_input_is_one_sentence(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *options]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mmd-ddm: ")]
    assert len(said) == 1
    assert told in said[0]
