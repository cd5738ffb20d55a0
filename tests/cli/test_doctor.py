"""`mmd-ddm doctor` on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mmd_ddm.cli.main import main
from mmd_ddm.experiment.machine import examine
from mmd_ddm.experiment.machine.finding import Finding, ok


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the processes of the all-reduce, on a machine whose disks don't matter."""
    found: tuple[list[Finding], dict[str, str]] = [ok("all-reduce", "")], {}
    monkeypatch.setattr(examine, "check_all_reduce", lambda gpus: found)
    monkeypatch.setattr(examine, "check_disks", lambda shared: [ok("disk", "")])
    monkeypatch.setattr(examine, "check_shared_memory", lambda: ok("shared memory", ""))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.delenv("MMD_DDM_SHARED", raising=False)


def test_a_workstation_without_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "doctor: nothing is wrong"
    assert all(line.startswith(f"{os.uname().nodename}  ") for line in lines)
    whats = ("GPU", "all-reduce", "shared memory", "disk", "shared folder", "versions", "MLflow")
    assert all(any(what in line for line in lines) for what in whats)


def test_a_fault_names_the_machine_and_sets_the_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--worker", "--shared", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert f"{os.uname().nodename}  FAULT  shared folder   {tmp_path} holds nothing that the head wrote" in printed
    assert f"doctor: {os.uname().nodename} has 1 fault\n" in printed
    assert main(["doctor", "--head", "--shared", str(tmp_path)]) == 0
    assert main(["doctor", "--worker", "--shared", str(tmp_path), "--json"]) == 0
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last)["verdict"] == "ok"


@pytest.mark.parametrize(("role", "status"), [("--head", 1), ("--worker", 0)])
def test_only_the_head_needs_the_mlflow_server(
    role: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--head", "--shared", str(tmp_path)])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    capsys.readouterr()
    assert main(["doctor", role, "--shared", str(tmp_path)]) == status
    assert "http://127.0.0.1:1" in capsys.readouterr().out
