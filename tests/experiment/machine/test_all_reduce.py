"""The all-reduce among processes of one machine, and what is made of P2P."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from mmd_ddm.experiment.machine import all_reduce
from mmd_ddm.experiment.machine.all_reduce import SWITCH, Reduction, check_all_reduce, judge, reduce
from mmd_ddm.experiment.machine.examine import Examination
from mmd_ddm.experiment.machine.finding import Verdict

FAST, SLOW, HANGS = Reduction(0.004), Reduction(0.05), Reduction(failure="hangs (no result within 120 s)")


@pytest.mark.parametrize(
    ("direct", "through_host", "verdict", "variables"),
    [
        (FAST, SLOW, Verdict.OK, {}),
        (Reduction(0.006), FAST, Verdict.OK, {}),  # within the noise of a busy machine
        (SLOW, FAST, Verdict.FAULT, {SWITCH: "1"}),
        (HANGS, FAST, Verdict.FAULT, {SWITCH: "1"}),
        (HANGS, HANGS, Verdict.FAULT, {}),  # it is something else
        (FAST, HANGS, Verdict.NOTE, {}),
    ],
)
def test_p2p_is_advised_against_where_it_hangs_or_is_slower(
    direct: Reduction, through_host: Reduction, verdict: Verdict, variables: dict[str, str]
) -> None:
    (finding,), found = judge(4, direct, through_host)
    assert finding.verdict is verdict
    assert found == variables
    assert (f"export {SWITCH}=1" in finding.said) == bool(variables)
    assert str(direct) in finding.said
    assert str(through_host) in finding.said


def test_what_mends_p2p_is_written_for_the_shell_and_is_then_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmd_ddm.experiment.machine.examine.check_all_reduce", lambda gpus: judge(4, HANGS, FAST))
    (finding,) = Examination(exports=tmp_path / "file")._all_reduce()
    assert finding.verdict is Verdict.NOTE
    line = f". {tmp_path / 'file'} && echo ${SWITCH}"
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout == "1\n"
    (finding,) = Examination()._all_reduce()
    assert finding.verdict is Verdict.FAULT


def test_a_machine_with_p2p_off_is_not_tried_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(all_reduce, "reduce", lambda backend, workers, variables: asked.append(variables) or FAST)
    monkeypatch.setenv(SWITCH, "1")
    (finding,), variables = check_all_reduce(4)
    assert (finding.verdict, asked, variables) == (Verdict.OK, [{}], {SWITCH: "1"})  # it stays off in the next shell
    monkeypatch.delenv(SWITCH)
    check_all_reduce(4)
    assert asked[1:] == [{}, {SWITCH: "1"}]


@pytest.mark.slow
def test_two_processes_sum_and_one_that_hangs_is_ended() -> None:
    assert reduce("gloo", 2, {}).seconds > 0
    failed = reduce("gloo", 2, {"GLOO_SOCKET_IFNAME": "no-such-interface"})
    assert failed.failure.startswith("fails (")
    began = time.monotonic()
    assert reduce("gloo", 2, {}, patience=0.1).failure == "hangs (no result within 0 s)"
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    alive = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert alive == [], time.monotonic() - began
