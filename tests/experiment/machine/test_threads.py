"""How many threads a command takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.machine import threads
from mmd_ddm.experiment.machine.threads import VARIABLE, idle_cores, use_threads


class Machine:
    """Four cores, of which this process may use some, as Linux describes them; time passes where it sleeps."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stat, self.quota, self.idle = folder / "stat", folder / "cpu.max", (1.0, 1.0, 1.0, 1.0)
        self.ticks = [[100, 0, 50, 1000, 10, 0, 0, 0, 7, 7] for _ in range(4)]
        self.write()
        for name, value in (("_STAT", self.stat), ("_QUOTA", self.quota), ("time", self)):
            monkeypatch.setattr(threads, name, value)
        monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 3})

    def sleep(self, seconds: float) -> None:
        for ticks, idle in zip(self.ticks, self.idle, strict=True):
            passed = round(100 * seconds)
            ticks[3] += round(idle * passed)
            ticks[0] += passed - round(idle * passed)
        self.write()

    def write(self) -> None:
        rows = [f"cpu{core} {' '.join(map(str, ticks))}" for core, ticks in enumerate(self.ticks)]
        self.stat.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows, "intr 5", ""]))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("idle", "quota", "cores"),
    [
        ((1, 1, 1, 1), None, 3),  # the third is not ours
        ((1, 0, 1, 1), "max 100000", 2),
        ((0.6, 0.5, 1, 0.5), None, 2),
        ((0, 0, 1, 0), None, 1),
        ((1, 1, 1, 1), "150000 100000", 2),
        ((1, 1, 1, 1), "20000 100000", 1),
    ],
)
def test_idle_cores(idle: tuple[float, ...], quota: str | None, cores: int, machine: Machine) -> None:
    machine.idle = idle
    if quota is not None:
        machine.quota.write_text(quota)
    assert idle_cores() == cores


def test_where_linux_does_not_tell_all_cores_count(machine: Machine) -> None:
    machine.stat.unlink()
    assert idle_cores() == 3


@pytest.mark.usefixtures("machine")
def test_what_is_asked_goes_before_what_is_set_and_that_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv(VARIABLE, "7")
        use_threads(None)
        assert (os.environ[VARIABLE], torch.get_num_threads()) == ("7", before)
        use_threads(2)
        assert (os.environ[VARIABLE], torch.get_num_threads()) == ("2", 2)
        monkeypatch.delenv(VARIABLE)
        use_threads(None)
        assert (os.environ[VARIABLE], torch.get_num_threads()) == ("3", 3)
        with pytest.raises(UserError, match="--threads is 0; it must be at least 1"):
            use_threads(0)
    finally:
        torch.set_num_threads(before)
