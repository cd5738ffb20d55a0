"""Ctrl-C and SIGTERM, sent for real to this process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmd_ddm.cli.main import main
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.experiment.interruption import Interruption, ask_to_stop, asked_to_stop, leader_asked, let_go_on
from mmd_ddm.experiment.run_folder import METRICS, read_rows
from mmd_ddm.records import read_record
from mmd_ddm.saved_state import RECORD, TENSORS
from tests.experiment.second_worker import Second


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number: int) -> None:
    asked: list[int] = []
    interruption, former = Interruption(), signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruption.heard(), interruption.gently(lambda: asked.append(1)):  # noqa: PT012
        os.kill(os.getpid(), number)
        assert asked == [1]
        assert interruption.asked
        os.kill(os.getpid(), number)
    assert asked == [1]
    assert signal.getsignal(number) is former


def test_where_nothing_can_be_asked_the_first_signal_ends() -> None:
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt), interruption.heard():
        os.kill(os.getpid(), signal.SIGTERM)
    assert interruption.asked


def test_the_first_worker_answers_for_all(tmp_path: Path) -> None:
    alone = leader_asked(tmp_path, SingleCollective())
    assert not alone()  # nobody has said anything
    let_go_on(tmp_path)
    assert not alone()
    ask_to_stop(tmp_path)
    assert asked_to_stop(tmp_path)
    assert alone()
    assert not leader_asked(tmp_path, Second(0))()  # another one, which might see the word later
    let_go_on(tmp_path)
    assert not alone()


OPTIONS = ["finetune", "--updates", "12", "--scorings", "1", "--batch", "8", "--micro-batch", "8",
           "--score-images", "20"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.faults
def test_a_terminated_run_has_a_checkpoint_and_ends_as_if_it_had_not_been(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert main([*OPTIONS, "--output", str(whole)]) == 0

    def terminate() -> None:
        while not read_rows(run / METRICS)[0]:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    assert main([*OPTIONS, "--output", str(run)]) == 130
    assert f"interrupted; mmd-ddm finetune --resume --output {run} goes on" in capsys.readouterr().err
    assert 0 < read_record(run / "checkpoint" / RECORD).whole("update") < 12
    assert main(["finetune", "--resume", "--output", str(run)]) == 0
    ours, theirs = (load_file(each / "checkpoint" / TENSORS) for each in (run, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
