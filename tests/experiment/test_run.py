"""A whole run in process, on the shipped model and data."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DDIMPipeline
from safetensors.torch import load_file

from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.evaluation.metrics import read_metrics
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.kept_state import KeptState
from mmd_ddm.experiment.origins import Origins
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.run_folder import Scoring, read_rows
from mmd_ddm.experiment.scoring.model_record import read_record
from mmd_ddm.experiment.scoring.score import open_model
from mmd_ddm.experiment.scoring.scored_model import FINETUNED, ScoredModel, relative_score
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.record import RECORD

TINY = {
    "updates": 6,
    "batch": 8,
    "scorings": 2,
    "score_images": 40,
    "reference": "bank",
    "ema": 0.9,
    "clip": 1.0,
}


def tiny(**changes: object) -> Config:
    return preset("paper", "digits").replace(**{**TINY, **changes})


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoint/state.safetensors")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"gradient": "stored", "eta": 0.5}, marks=pytest.mark.slow),
        {"gradient": "replay", "eta": 0.5},
        {"gradient": "replay", "sampler": "unipc-2", "steps": 3, "learn": "both"},
    ],
)
def test_six_updates_are_three_a_stop_and_three(tmp_path: Path, how: dict[str, object]) -> None:
    config = tiny(**how, micro_batch=3, kernel="cubic+rbf", reference="batch")
    whole = finetune(config, tmp_path / "whole", report=lambda metrics, checkpoint: None)
    seen: list[int] = []
    stopped = finetune(
        config, tmp_path / "part", report=lambda m, c: None,
        on_update=lambda record: seen.append(record.update), should_stop=lambda: len(seen) == 4,
    )  # fmt: skip
    assert stopped.model is None
    resumed = finetune(
        config, tmp_path / "part", report=lambda m, c: None, checkpoint=tmp_path / "part/checkpoint",
        on_update=lambda record: seen.append(record.update),
    )  # fmt: skip
    assert seen == [1, 2, 3, 4, 5, 6]  # the fourth came after the last scoring, and was kept all the same
    assert resumed.scoring == whole.scoring
    ours, theirs = weights_of(tmp_path / "part"), weights_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    lines = [read_rows(tmp_path / folder / "metrics.jsonl")[0] for folder in ("whole", "part")]
    timeless = [[{k: v for k, v in line.items() if k != "time"} for line in run_] for run_ in lines]
    assert timeless[0] == timeless[1]


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    whole = finetune(tiny(), tmp_path / "whole", report=lambda metrics, checkpoint: None)
    finetune(tiny(updates=3, scorings=1), tmp_path / "part", report=lambda metrics, checkpoint: None)
    longer = finetune(
        tiny(), tmp_path / "part", report=lambda m, c: None, checkpoint=tmp_path / "part/checkpoint"
    )  # fmt: skip
    assert longer.scoring == whole.scoring
    ours, theirs = weights_of(tmp_path / "part"), weights_of(tmp_path / "whole")
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_a_sampler_learns_alone_and_leaves_the_weights(tmp_path: Path) -> None:
    """The exported model scores as the run did, with the sampler that its folder has."""
    config = tiny(learn="sampler", sampler="ipndm", steps=3, schedule="logsnr", updates=3, scorings=1, keep="last")
    outcome = finetune(config, tmp_path / "run", report=lambda m, c: None)
    assert outcome.model is not None
    assert outcome.scoring is not None
    base, ours = (load_denoiser(folder).network.state_dict() for folder in (Parts(config).folder, outcome.model))
    assert all(torch.equal(value, ours[name]) for name, value in base.items() if "time_proj" not in name)
    learned = {name: value for name, value in weights_of(tmp_path / "run").items() if "learned" in name}
    assert {name for name in learned if name.startswith("weights/")} == {
        f"weights/learned.{each}" for each in ("levels", "offsets", "corrections")
    }
    assert all(value.any() for value in learned.values())
    assert not any("adam/exp_avg/network" in name for name in weights_of(tmp_path / "run"))
    record = read_record(outcome.model)
    assert (record.sampler.sampler, record.base_sampler.sampler) == ("learned", "ipndm")
    parts = Parts(tiny())
    found = open_model(parts, ScoredModel(FINETUNED, record.sampler), outcome.model, images=40).score()
    expected = {metric.name: metric.value for metric in outcome.scoring.metrics}
    assert {metric.name: metric.value for metric in found} == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_what_a_run_leaves(tmp_path: Path) -> None:
    reports: list[tuple[dict[str, float], Path | None]] = []
    outcome = finetune(tiny(schedule="quadratic"), tmp_path / "run", report=lambda m, c: reports.append((m, c)))
    assert [m["update"] for m, _ in reports] == [3, 6]
    assert all(c == tmp_path / "run/checkpoint" for _, c in reports)
    metrics = reports[-1][0]
    for space in ("classifier", "contrastive"):
        assert {f"kid_{space}", f"kid_{space}_stderr", f"fid_{space}_40"} <= set(metrics)
    assert metrics["score"] == min(metrics["score_raw"], metrics["score_ema"])
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {
        "config.json", "origins.json", "baseline.json", "metrics.jsonl", "samples_000003.png", "samples_000006.png",
        "checkpoint", "model",
    }  # fmt: skip
    assert outcome.model == tmp_path / "run/model"
    record = json.loads((outcome.model / RECORD).read_text())
    assert record["config"] == tiny(schedule="quadratic").flat()
    assert record["weights"] in ("raw", "ema")
    assert DDIMPipeline.from_pretrained(outcome.model).scheduler.config.num_train_timesteps == 5


def relative(numbers: dict[str, float], baseline: dict[str, float]) -> float:
    return relative_score(read_metrics(numbers), read_metrics(baseline))


def test_score_is_relative_to_the_base_model(tmp_path: Path) -> None:
    baseline = {"kid_a": 0.1, "kid_a_stderr": 0.01, "kid_b": 0.2, "fid_a_40": 3.0}
    assert relative({"kid_a": 0.05, "kid_b": 0.02}, baseline) == pytest.approx(0.5)  # of the worse space
    assert relative({"kid_a": -0.05, "kid_b": 0.02}, baseline) == pytest.approx(0.1)
    for lost in ({"kid_a": math.nan, "kid_b": 0.02}, {"kid_a": 0.05, "kid_b": math.nan}):
        assert math.isnan(relative(lost, baseline))
    # where the base model is at the noise already, twice its error is the unit, and a larger KID is still worse
    noise = {"kid_a": -0.001, "kid_a_stderr": 0.002}
    assert relative({"kid_a": 0.004}, noise) == pytest.approx(1)
    # an update with a vanishing learning rate leaves the base model: its score is 1
    config = tiny(updates=1, scorings=1, learning_rate=1e-12, ema=0.0, score_images=500)
    outcome = finetune(config, tmp_path / "run", report=lambda m, c: None)
    assert outcome.scoring is not None
    assert outcome.scoring.score == pytest.approx(1, rel=1e-3)


def test_the_best_scored_state_is_exported_and_found_again(tmp_path: Path) -> None:
    # updates so large that the images get worse
    config = tiny(updates=4, scorings=4, learning_rate=0.02, ema=0.0, clip=None)
    rows: list[dict[str, float]] = []
    outcome = finetune(config, tmp_path / "whole", report=lambda row, checkpoint: rows.append(row))
    best = min(rows, key=lambda row: row["score"])
    assert best["update"] < 4  # or the test shows nothing
    for place, row in enumerate(rows):
        first = min(rows[: place + 1], key=lambda row: row["score"])
        assert (row["kept_update"], row["kept_score"]) == (first["update"], first["score"])
    assert outcome.scoring is not None
    assert (outcome.scoring.update, outcome.scoring.score) == (best["update"], best["score"])
    record = json.loads((tmp_path / "whole/model" / RECORD).read_text())
    assert (record["update"], record["weights"], record["metrics"]) == (best["update"], "raw", best)

    model = open_model(Parts(config), ScoredModel(FINETUNED, config.sampler), tmp_path / "whole/model", images=40)
    baseline = read_metrics(record["baseline"])
    assert relative_score(model.score(), baseline) == pytest.approx(best["score"], rel=1e-4)  # the weights are those

    seen: list[int] = []
    for checkpoint in (None, tmp_path / "part/checkpoint"):
        finetune(
            config, tmp_path / "part", checkpoint=checkpoint, on_update=lambda record: seen.append(record.update),
            should_stop=lambda: len(seen) == 3,
        )  # fmt: skip
        seen.append(0)
    for file in (RECORD, "unet/diffusion_pytorch_model.safetensors"):
        assert (tmp_path / "part/model" / file).read_bytes() == (tmp_path / "whole/model" / file).read_bytes()


def test_the_last_state_is_exported_if_that_is_asked_for(tmp_path: Path) -> None:
    config = tiny(updates=2, scorings=2, learning_rate=0.1, ema=0.0, clip=None, keep="last")
    outcome = finetune(config, tmp_path / "run")
    assert outcome.scoring is not None
    assert outcome.scoring.update == 2
    assert json.loads((tmp_path / "run/model" / RECORD).read_text())["update"] == 2


def test_what_was_kept_counts_only_where_it_can_be_compared(tmp_path: Path) -> None:
    config = tiny()
    kept = {"update": 6, "metrics": {"update": 6, "score": 0.5, "kid_a": 0.1}, "config": config.flat()}
    (tmp_path / "model").mkdir()
    file = tmp_path / "model" / RECORD

    def found(update: int, config: Config = config, **changes: object) -> Scoring | None:
        file.write_text(json.dumps({**kept, **changes}))
        return KeptState(Parts(config), tmp_path, (), update, Origins()).scoring

    assert found(6) == Scoring(6, 0.5, read_metrics({"kid_a": 0.1}))
    assert found(5) is None  # the run was killed before its checkpoint: the update is done again
    file.parent.rename(tmp_path / "model.former")  # it was killed while the model was replaced
    assert KeptState(Parts(config), tmp_path, (), 6, Origins()).scoring == Scoring(6, 0.5, read_metrics({"kid_a": 0.1}))
    assert [each.name for each in tmp_path.iterdir()] == ["model"]
    assert found(6, tiny(score_images=60)) is None
    assert found(6, tiny(scorings=3)) is not None
    assert found(6, metrics={"score": 0.5}) is None  # of an earlier version
    file.write_text("{")
    assert KeptState(Parts(config), tmp_path, (), 6, Origins()).scoring is None


def test_divergence_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    config = tiny(updates=40, scorings=40, learning_rate=1.0, clip=None, ema=0.0)
    seen: list[float] = []
    with pytest.raises(DivergenceError, match="diverged"):
        finetune(config, tmp_path / "run", report=lambda m, c: seen.append(m["update"]))
    kept = json.loads((tmp_path / "run/checkpoint/state.json").read_text())
    assert kept["update"] == seen[-1]
    assert all(value.isfinite().all() for value in weights_of(tmp_path / "run").values())


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    finetune(tiny(), tmp_path / "run", report=lambda m, c: None)
    with pytest.raises(UserError, match="learning_rate was"):
        finetune(
            tiny(learning_rate=3e-5), tmp_path / "run", report=lambda m, c: None,
            checkpoint=tmp_path / "run/checkpoint",
        )  # fmt: skip
