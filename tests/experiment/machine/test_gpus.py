"""What is said of GPUs, from what the driver lists and what PyTorch sees."""

from __future__ import annotations

import pytest

from mmd_ddm.experiment.machine.finding import Verdict
from mmd_ddm.experiment.machine.gpus import check_gpus, judge

A6000 = "NVIDIA RTX A6000, 580.65.06, 49140 MiB"


@pytest.mark.parametrize(
    ("boards", "complaint", "seen", "expected", "verdict", "words"),
    [
        ([A6000] * 4, "", 4, 4, Verdict.OK, f"4 x {A6000}"),
        ([A6000] * 4, "", 4, None, Verdict.OK, f"4 x {A6000}"),
        ([], "", 0, None, Verdict.OK, "on the CPU"),
        ([], "", 0, 0, Verdict.OK, "on the CPU"),
        ([A6000] * 3, "", 3, 4, Verdict.FAULT, "3 of 4 GPUs are there"),  # one fell off the bus
        (
            [A6000] * 4,
            "",
            2,
            None,
            Verdict.FAULT,
            "2 of 4 GPUs are there",
        ),  # CUDA_VISIBLE_DEVICES of someone's ~/.bashrc
        ([], "", 0, 4, Verdict.FAULT, "0 of 4 GPUs are there"),
        ([A6000] * 4, "", 0, 4, Verdict.FAULT, "can't use NVIDIA RTX A6000, 580.65.06, 49140 MiB (too old)"),
        ([], "couldn't communicate with the NVIDIA driver", 0, None, Verdict.FAULT, "couldn't communicate"),
    ],
)
def test_gpus_are_compared_with_those_that_there_should_be(
    boards: list[str], complaint: str, seen: int, expected: int | None, verdict: Verdict, words: str
) -> None:
    finding = judge(boards, complaint, seen, expected, "too old")
    assert finding.verdict is verdict
    assert words in finding.said


def test_a_missing_gpu_of_this_machine_is_a_fault() -> None:
    first, *_ = check_gpus(99)
    assert first.verdict is Verdict.FAULT
    assert "of 99 GPUs" in first.said
