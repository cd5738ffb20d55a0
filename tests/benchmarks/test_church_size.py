"""An update at the size of LSUN-Church fits a small machine, and its memory does not depend on the number of steps."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.table import show
from tests.inception import random_inception

pytestmark = [pytest.mark.slow, pytest.mark.benchmark]
GIB = 1 << 30


def test_an_update_of_two_images_of_256_pixels(tmp_path: Path) -> None:
    random_inception(tmp_path)
    found = {steps: _update(steps, tmp_path) for steps in (5, 10)}
    rows: list[list[object]] = [["S", "peak GiB", "of S = 5"]]
    rows += [[steps, each["peak"] / GIB, each["peak"] / found[5]["peak"]] for steps, each in found.items()]
    show("one update of LSUN-Church's size on the CPU, batch 2 (bars: 8 GiB, 1.1)", rows)
    for each in found.values():
        assert math.isfinite(each["mmd2"])
        assert each["moved"] == pytest.approx(5e-6, rel=0.05)  # Adam's first step is the learning rate
        assert each["peak"] < 8 * GIB
    assert found[10]["peak"] <= 1.1 * found[5]["peak"]


def _update(steps: int, weights: Path) -> dict[str, float]:
    named = {"MMD_DDM_WEIGHTS": str(weights), "MMD_DDM_UNVERIFIED_WEIGHTS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.church_update", str(steps)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **named},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured
