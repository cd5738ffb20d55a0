"""What no machine can do, or nobody can mean: refused in one sentence before memory is taken or a folder is made."""

from __future__ import annotations

import json
import os
import resource
import shutil
from pathlib import Path

import pytest
from PIL import Image

import mmd_ddm
from mmd_ddm.cli.main import main, run_command
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.distributed.cluster import check_address
from mmd_ddm.experiment.tracking.store import check_reachable
from mmd_ddm.finetuning import memory
from mmd_ddm.pretrained.locate import SHIPPED


def refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main(arguments) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("mmd-ddm: ")]
    assert len(said) == 1
    assert words in said[0]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # kB


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


BILLION = "1000000000"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["finetune", "--batch", BILLION], "make --batch smaller"),
        (["finetune", "--workers", "100000"], "CPUs; ask for fewer"),
        (["finetune", "--score-images", BILLION], "generated images would need"),
        (["evaluate", "--images", BILLION], "generated images would need"),
        (["evaluate", "--workers", "100000"], "each is a process, would need"),
        (["pretrain", "--batch", BILLION], "make --batch smaller"),
        (["pretrain", "--what", "classifier", "--batch", BILLION], "make --batch smaller"),
        (["sample", "--images", "1" + "0" * 12], "are free in"),
        (["sample", "--steps", BILLION], "a budget is 1 to 1000"),
        (["finetune", "--data", ".", "--resolution", "1000000"], "it must be a whole number from 4 to 8192"),
        (["prepare", "--data", ".", "--resolution", "1000000"], "it must be from 1 to 8192 pixels"),
        (["evaluate", "--curve", "curve.odd"], "name one that ends in .png"),
        (["sample", "--output", "x" * 300], "name too long"),
        (["finetune", "--output", "loop/run"], "oop"),
        (["finetune", "--data", "y" * 5000, "--resolution", "8"], "name too long"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_absurd_wishes_are_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("loop", "loop")
    refused(arguments, words, capsys)
    assert os.listdir() == ["loop"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"layers_per_block": 10**9}, "layers_per_block in"),
        ({"layers_per_block": "2"}, "a whole number from 1 to 64"),
        ({"block_out_channels": [32] * 1000}, "a list of 1 to 16"),
        ({"block_out_channels": [32, 10**9]}, "a whole number from 1 to 16384"),
        ({"block_out_channels": [16000, 16000]}, "has shape"),  # 50 GB, which the file does not have
    ],
    ids=str,
)
def test_networks_of_absurd_size_are_refused(
    entries: dict[str, object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(SHIPPED / "digits", "model")
    config = json.loads(Path("model/unet/config.json").read_text())
    Path("model/unet/config.json").write_text(json.dumps({**config, **entries}))
    refused(["sample", "--model", "model"], words, capsys)


def test_a_record_with_a_huge_budget_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(SHIPPED / "digits", "model")
    how = {"sampler": "ddpm", "steps": 10**9, "eta": 0, "variance": "model"}
    Path("model/mmd_ddm.json").write_text(json.dumps(how))
    refused(["sample", "--model", "model"], "a budget is 1 to 1000", capsys)


def test_what_is_needed_and_what_there_is_are_both_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1.5e6)
    refused(["finetune"], "of memory, and 1.5 MB are free; make --batch smaller", capsys)
    assert os.listdir() == []


def test_a_refused_preparation_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    os.mkdir("images")
    for i in range(10):
        Image.new("RGB", (4, 4)).save(f"images/{i}.png")
    refused(["prepare", "--data", "images", "--resolution", "8", "--output", "a/store"], "too small", capsys)
    assert os.listdir() == ["images"]


def test_divergence_in_the_first_update_leaves_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmd_ddm.errors import DivergenceError
    from mmd_ddm.finetuning import loop

    def diverge(*arguments: object, **settings: object) -> None:
        raise DivergenceError("update 1 has loss nan")

    monkeypatch.setattr(loop, "finetune", diverge)
    small = ["--updates", "2", "--score-images", "4", "--steps", "1", "--scorings", "1", "--batch", "4"]
    assert main(["finetune", *small, "--output", "run"]) == 1
    assert os.listdir() == []


@pytest.mark.parametrize("address", ["nonsense", "auto:", "127.0.0.1", "127.0.0.1:99999", "a..b:1"])
def test_ray_addresses_that_are_none_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)

    def work() -> int:
        check_address()
        return 0

    assert run_command(work, "error", "") == 2


def test_auto_without_a_cluster_is_said_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ray._private import services

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(services, "find_gcs_addresses", set)  # of other tests

    for left in (None, "127.0.0.1:1"):  # by a cluster that has ended
        monkeypatch.setattr(services, "find_bootstrap_address", lambda folder, left=left: left)
        assert run_command(lambda: check_address() or 0, "error", "") == 2
        assert "No Ray cluster answers at RAY_ADDRESS=auto" in capsys.readouterr().err


def test_stores_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "garbage")
    assert run_command(lambda: check_reachable() or 0, "error", "") == 2
    assert "MLFLOW_TRACKING_URI is 'garbage', which is no address of a store" in capsys.readouterr().err
    os.mkdir("garbage")
    check_reachable()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
            "memory ran out",
        ),
        (MemoryError(), "memory ran out"),
    ],
)
def test_the_machines_failures_are_told(error: Exception, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise error

    assert run_command(work, "mmd-ddm", "") == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_more_images_than_memory_are_refused() -> None:
    with pytest.raises(UserError, match=r"images would need .* ask for fewer"):
        mmd_ddm.sample("digits", 10**12)
