"""The disk fills while a checkpoint is written: the last one stays whole, and the run goes on from it."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.run_folder import CHECKPOINT, Row, latest_checkpoint
from mmd_ddm.records import read_record
from mmd_ddm.saved_state import RECORD, TENSORS

pytestmark = [pytest.mark.slow, pytest.mark.faults]
CONFIG = preset("best", "digits").replace(updates=4, scorings=4, batch=8, micro_batch=8, score_images=20)
LEFT = 2**20  # bytes: a checkpoint of digits takes six times as many


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a tmpfs: root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Leave LEFT bytes."""
    free = int(subprocess.run(["stat", "-f", "-c", "%a %S", disk], capture_output=True, check=True).stdout.split()[0])
    with (disk / "filler").open("wb") as file:
        file.write(bytes(4096 * free - LEFT))


def test_the_last_checkpoint_stays_and_is_used(small_disk: Path, tmp_path: Path) -> None:
    finetune(CONFIG, tmp_path / "whole")
    run = small_disk / "run"

    def fill_after_the_second(row: Row, checkpoint: Path | None) -> None:
        if row["update"] == 2:
            fill(small_disk)

    with pytest.raises(OSError, match="No space left on device") as full:
        finetune(CONFIG, run, report=fill_after_the_second)
    assert full.value.errno == errno.ENOSPC
    kept = latest_checkpoint(run)
    assert kept == run / CHECKPOINT
    assert read_record(kept / RECORD).whole("update") == 2
    assert [each.name for each in run.iterdir() if each.name.startswith(".")] == []  # no half of a new one

    (small_disk / "filler").unlink()
    first: list[int] = []
    finetune(CONFIG, run, checkpoint=kept, on_update=lambda record: first.append(record.update))
    assert first == [3, 4]
    ours, theirs = (load_file(each / CHECKPOINT / TENSORS) for each in (run, tmp_path / "whole"))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
