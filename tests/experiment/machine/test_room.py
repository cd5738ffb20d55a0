"""Shared memory and disks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from mmd_ddm.experiment.machine.finding import Verdict
from mmd_ddm.experiment.machine.room import check_disks, check_shared_memory, judge


@pytest.mark.parametrize(
    ("free", "total", "verdict", "words"),
    [
        (6e9, 60e9, Verdict.OK, "6 of 60 GB free"),
        (4.9e9, 60e9, Verdict.FAULT, "make room"),
        (40e9, 1000e9, Verdict.FAULT, "more than 95 % full"),  # where Ray stops, however much there is
        (60e9, 1000e9, Verdict.OK, ""),
    ],
)
def test_room_of_disks(free: float, total: float, verdict: Verdict, words: str) -> None:
    finding = judge(Path("/data"), int(free), int(total))
    assert finding.verdict is verdict
    assert words in finding.said


def test_a_disk_is_told_once_and_a_folder_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    free = shutil.disk_usage(tmp_path).free
    (finding,) = check_disks(tmp_path)
    assert f"{free / 1e9:.0f}"[:-1] in finding.said
    assert str(tmp_path / "not" / "there") in finding.said


def test_a_containers_shared_memory_is_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, verdict in ((64 * 2**20, Verdict.FAULT), (8 * 2**30, Verdict.OK)):
        monkeypatch.setattr(shutil, "disk_usage", lambda place, free=free: usage._replace(free=free))
        assert check_shared_memory(tmp_path).verdict is verdict
    assert check_shared_memory(tmp_path / "absent").verdict is Verdict.FAULT
