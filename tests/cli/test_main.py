"""What users meet at the command line when something is wrong: one sentence and the right exit status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmd_ddm.cli import sample
from mmd_ddm.cli.main import main, run_command
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.run import finetune
from mmd_ddm.pretrained.locate import SHIPPED

Damage = Callable[[Path], object]


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda m: (m / "mmd_ddm.json").write_text("[1]"), "mmd_ddm.json is damaged"),
        (lambda m: (m / "mmd_ddm.json").write_bytes(b"\xff\xfe"), "mmd_ddm.json is damaged"),
        (lambda m: (m / "mmd_ddm.json").write_text('{"sampler": "ddim", "steps": "x"}'), "mmd_ddm.json is damaged"),
        (lambda m: (m / "scheduler/scheduler_config.json").write_text("[1]"), "holds no JSON object"),
        (lambda m: rewrite(m / "scheduler/scheduler_config.json", beta_schedule="odd"), "beta_schedule 'odd'"),
        (lambda m: rewrite(m / "scheduler/scheduler_config.json", trained_betas=[0.1, 0.2]), "as many"),
        (lambda m: rewrite(m / "unet/config.json", sample_size=None), "sample_size"),
        (lambda m: rewrite(m / "unet/config.json", in_channels=3), "conv_in.weight has shape"),
    ],
)
def test_a_damaged_model_is_told_in_one_line(
    damage: Damage, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(SHIPPED / "digits", model)
    damage(model)
    assert (
        main(["sample", "--model", str(model), "--steps", "2", "--images", "1", "--output", str(tmp_path / "s")]) == 2
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mmd-ddm: ")]
    assert len(lines) == 1
    assert told in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "--seed", "-1"],
        ["evaluate", "--seed", "-1"],
        ["sample", "--seed", str(2**70)],
        ["sample", "--sampler", "ddpm", "--eta", "0.5"],
        ["finetune", "--workers", "2", "--cpus-per-worker", "0"],
        ["finetune", "--workers", "2", "--gpus-per-worker", "-1"],
    ],
)
def test_wrong_options_end_with_status_2(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, *(["--output", str(tmp_path)] if arguments[0] != "evaluate" else [])]) == 2


def test_a_run_folder_without_settings_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    assert main(["finetune", "--resume", "--output", str(tmp_path)]) == 2


def test_ctrl_c_ends_with_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sample, "execute", interrupted)
    assert main(["sample"]) == 130
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UserError("wrong"), 2),
        (DivergenceError("diverged"), 1),
        (OSError(28, "No space left"), 1),
        (OSError(13, "no"), 2),
    ],
)
def test_what_users_can_mend_is_one_sentence_with_its_status(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert run_command(work, "mmd-ddm", "go on") == status
    said = capsys.readouterr().err
    assert said.startswith(f"mmd-ddm: {error}")
    assert said.count("\n") == 1
    assert ("free some space, and go on" in said) == (error.args[0] == 28)


def test_a_bug_keeps_its_trace() -> None:
    def work() -> int:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_command(work, "mmd-ddm", "go on")


class Many:
    rank, world = 0, 8


@pytest.mark.parametrize("small", ["batch", "score_images"])
def test_a_worker_without_work_is_refused(small: str, tmp_path: Path) -> None:
    config = Config.from_flat({"batch": 8, "score_images": 8, small: 4})
    with pytest.raises(UserError, match=f"{small} is 4"):
        finetune(config, tmp_path, report=lambda row, checkpoint: None, collective=Many())  # type: ignore[arg-type]


def test_fewer_updates_than_done_and_a_damaged_checkpoint_are_refused(tmp_path: Path) -> None:
    small = {"batch": 4, "score_images": 4, "steps": 1, "scorings": 1}
    config = Config.from_flat({**small, "updates": 2, "score_features": "classifier"})
    finetune(config, tmp_path, report=lambda row, checkpoint: None)
    held = (tmp_path / "config.json").read_text()
    resume = ["finetune", "--resume", "--output", str(tmp_path)]
    assert main([*resume, "--updates", "1"]) == 2
    for content in ("{}", "[1]"):
        (tmp_path / "checkpoint/state.json").write_text(content)
        assert main(resume) == 2
    assert (tmp_path / "config.json").read_text() == held
