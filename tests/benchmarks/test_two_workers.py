"""Two workers against one, by Ray Train; see `two_workers`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.benchmark
def test_two_workers_against_one() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.two_workers"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
