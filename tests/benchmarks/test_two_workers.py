"""Two workers against one, by Ray Train; see `two_workers`. And that it tells processes apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import busy
from tests.benchmarks.busy import TICK, Busy, Process, seconds_of


@pytest.mark.slow
@pytest.mark.benchmark
def test_two_workers_against_one() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.two_workers"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def test_processor_seconds_are_the_14th_and_15th_field_of_a_process_of_any_name() -> None:
    assert seconds_of(f"7 (a (odd) name) S 1 {' '.join('0' * 9)} {3 * TICK} {2 * TICK} 0 0") == 5


def test_what_is_busy_beside_the_workers_is_told_by_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver 2 started Ray 3, which started the workers 4, 5 and a helper 6; 7 and 1 are another's; 8 came late."""
    parents = {1: 0, 2: 1, 3: 2, 4: 3, 5: 3, 6: 3, 7: 1}
    names = {**dict.fromkeys(parents, "other"), 2: "driver", 3: "ray", 6: "ray", 8: "late"}
    before = {pid: Process(names[pid], parent, 10.0) for pid, parent in parents.items()}
    after = {pid: Process(names[pid], parent, 10.0 + pid) for pid, parent in {**parents, 8: 6}.items()}
    after[8] = Process("late", 6, 8.0)
    told, clock = iter([before, after]), iter([100.0, 120.0])
    monkeypatch.setattr(busy, "processes", lambda: next(told))
    monkeypatch.setattr(busy, "threads", dict)
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    found = Busy([4, 5], root=2)
    with found.watched():
        pass
    monkeypatch.undo()
    assert found.beside == pytest.approx({"ray": 9 / 20, "late": 8 / 20, "driver": 2 / 20})
    assert found.others == pytest.approx(8 / 20)
