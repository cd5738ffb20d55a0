"""Early stopping frees what a trial held, over many trials in a row: processes and placement groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.running import Running

pytestmark = [pytest.mark.slow, pytest.mark.faults]
TRIALS, WORKERS = 31, 2  # nothing is seen of the last, with which the study ends
SCRIPT = Path(__file__).with_name("stopping_study.py")
STUDY = (
    SCRIPT, "--dataset", "digits", "--trials", TRIALS, "--steps", 1, "--updates", 2, "--scorings", 2, "--score-images",
    8, "--final-images", 8, "--workers-per-trial", WORKERS, "--concurrent", 1, "--space", "learning_rate=1e-5..1e-4",
    "--output", "s",
)  # fmt: skip


def test_a_stopped_trial_leaves_nothing_for_longer_than_ten_seconds(tmp_path: Path) -> None:
    study = Running(tmp_path, *STUDY)
    assert study.ended(7200) == 1, study.said + study.errors  # no trial was completed
    freed = [line.split() for line in (tmp_path / "freed.txt").read_text().splitlines()]
    seconds = [float(line[0]) for line in freed]
    print(f"freed after {min(seconds)} to {max(seconds)} s: {seconds}")
    assert len(freed) >= TRIALS - 1
    # of processes at least the trial's, its controller's and its workers'; of groups its own and its workers'
    assert all(int(processes) >= WORKERS + 2 and int(groups) == 2 for _, processes, groups, *_ in freed)
    assert len({tuple(line[1:3]) for line in freed}) == 1  # nothing gathers
    assert max(seconds) <= 10
