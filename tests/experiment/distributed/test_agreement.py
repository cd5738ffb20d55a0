"""Workers that see a folder at different times begin from one checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.distributed import agreement
from mmd_ddm.experiment.distributed.agreement import agreed_checkpoint
from tests.experiment.second_worker import Second


def checkpoint(folder: Path, update: int) -> None:
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / "state.json").write_text(json.dumps({"update": update}))


def test_one_worker_takes_what_is_there(tmp_path: Path) -> None:
    assert agreed_checkpoint(tmp_path, SingleCollective(), None) is None
    checkpoint(tmp_path, 3)
    assert agreed_checkpoint(tmp_path, SingleCollective(), torch.device("cpu")) == tmp_path / "checkpoint"
    (tmp_path / "checkpoint" / "state.json").write_text("{")  # said by whoever loads it
    assert agreed_checkpoint(tmp_path, SingleCollective(), None) == tmp_path / "checkpoint"


@pytest.mark.parametrize("before", [None, 20])
def test_a_worker_waits_until_it_sees_the_first_ones(
    before: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        checkpoint(tmp_path, before)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            checkpoint(tmp_path, 40)

    monkeypatch.setattr(agreement.time, "sleep", sleep)
    assert agreed_checkpoint(tmp_path, Second(40), None) == tmp_path / "checkpoint"
    assert len(pauses) == 3


def test_what_never_appears_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "PATIENCE", -1.0)
    with pytest.raises(UserError, match="doesn't show the checkpoint"):
        agreed_checkpoint(tmp_path, Second(40), None)
    checkpoint(tmp_path, 20)
    with pytest.raises(UserError, match="doesn't show the checkpoint"):
        agreed_checkpoint(tmp_path, Second(-1), None)
