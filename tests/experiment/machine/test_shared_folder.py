"""The folder that machines share, and versions that must be equal."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from mmd_ddm.experiment.machine import shared_folder
from mmd_ddm.experiment.machine.finding import Finding, Verdict
from mmd_ddm.experiment.machine.shared_folder import RECORDS, Role, check_shared
from mmd_ddm.experiment.machine.versions import compare, versions


def verdicts(findings: list[Finding]) -> dict[str, Verdict]:
    return {finding.what: finding.verdict for finding in findings}


def on(machine: str, monkeypatch: pytest.MonkeyPatch, folder: Path, role: Role, **other: str) -> list[Finding]:
    """The findings of a machine of that name, with other versions."""
    monkeypatch.setattr(shared_folder, "_own", lambda: f"{machine}.json")
    monkeypatch.setattr(shared_folder, "versions", lambda: {**versions(), **other})
    return check_shared(folder, role)


def test_a_worker_reads_what_the_head_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = on("w1", monkeypatch, tmp_path, Role.WORKER)
    assert first.verdict is Verdict.FAULT  # the head has not written: another folder may be mounted here
    assert "nothing that the head wrote" in first.said
    on("head", monkeypatch, tmp_path, Role.HEAD)
    findings = on("w1", monkeypatch, tmp_path, Role.WORKER)
    assert set(verdicts(findings).values()) == {Verdict.OK}
    assert "read from head" in findings[0].said


def test_other_versions_than_the_heads_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on("head", monkeypatch, tmp_path, Role.HEAD)
    _, finding = on("w1", monkeypatch, tmp_path, Role.WORKER, python="3.11.0", torch="2.6.0")
    assert finding.verdict is Verdict.FAULT
    here = versions()
    assert f"python 3.11.0 (head: {here['python']}), torch 2.6.0 (head: {here['torch']})" in finding.said


def test_a_folder_that_cannot_be_used_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "absent", tmp_path / "file"):
        assert verdicts(check_shared(folder, Role.ALONE)) == {"shared folder": Verdict.FAULT}
    (tmp_path / RECORDS).touch()  # in the way
    (finding,) = check_shared(tmp_path, Role.ALONE)
    assert "can't be used" in finding.said
    assert verdicts(check_shared(None, Role.WORKER))["shared folder"] is Verdict.FAULT
    assert verdicts(check_shared(None, Role.ALONE))["shared folder"] is Verdict.OK


def test_versions_are_those_of_what_runs(tmp_path: Path) -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["ray"].startswith("2.60.")
    assert compare(found, json.loads(json.dumps(found))).verdict is Verdict.OK
    assert compare({}, found).verdict is Verdict.FAULT
