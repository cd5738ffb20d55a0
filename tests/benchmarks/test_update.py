"""Memory and time of an update of the digits model, as ratios measured side by side."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.table import interleaved, ratio, show
from tests.digits_update import DigitsUpdate
from tests.memory import PeakSaved

REPETITIONS = 25
MIB = 1 << 20
# blocks that are freed go back to the system, so that the process's size follows what is alive
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}


def bytes_kept(route: str, steps: int, batch: int, micro: int) -> tuple[int, float]:
    """At the peak of an update, and its loss."""
    update = DigitsUpdate(steps, batch, micro)
    update.prepare()
    with PeakSaved(update.parts.denoiser) as saved:
        loss = update.gradient(route)
    return saved.peak, loss


@pytest.mark.benchmark
@pytest.mark.parametrize("micro", [128, 32])
def test_bytes_kept_for_backward(micro: int) -> None:
    rows: list[list[object]] = [["route", "S", "N", "kept MiB", "of first"]]
    kept: list[int] = []
    for route, steps, batch in (("replay", 5, 128), ("replay", 20, 128), ("replay", 5, 1024), ("stored", 5, 128)):
        kept.append(bytes_kept(route, steps, batch, micro)[0])
        rows.append([route, steps, batch, kept[-1] / MIB, kept[-1] / kept[0]])
    show(f"saved tensors at their peak, micro-batches of {micro} (bar 1.1 for replay)", rows)
    assert max(kept[1:3]) <= 1.1 * kept[0]


@pytest.mark.benchmark
@pytest.mark.parametrize("micro", [128, 32])
def test_size_of_the_process(micro: int) -> None:
    rows: list[list[object]] = [["route", "S", "N", "rise MiB", "of first", "peak MiB", "of first"]]
    found: list[dict[str, float]] = []
    for route, steps, batch in (("replay", 5, 128), ("replay", 20, 128), ("replay", 5, 1024), ("stored", 5, 128)):
        found.append(_fresh_process(route, steps, batch, micro))
        rise, peak = found[-1]["rise"], found[-1]["peak"]
        rows.append([route, steps, batch, rise / MIB, rise / found[0]["rise"], peak / MIB, peak / found[0]["peak"]])
    show(f"a process at its peak in its first update, micro-batches of {micro} (bar 1.1 for replay)", rows)
    for larger in found[1:3]:
        assert larger["rise"] <= 1.1 * found[0]["rise"]
        assert larger["peak"] <= 1.1 * found[0]["peak"]


def _fresh_process(route: str, steps: int, batch: int, micro: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.one_update", route, str(steps), str(batch), str(micro)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env={**os.environ, **ALLOCATOR}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def update_seconds(steps: int, batch: int, repetitions: int) -> dict[str, list[float]]:
    """Processor seconds of an update by each route, and of its objective alone."""
    update = DigitsUpdate(steps, batch, batch)
    update.prepare()
    parts = update.parts
    features = parts.pipeline.embed(parts.chain.sample(parts.denoiser, update.noise)).detach()
    assert update.gradient("replay") == pytest.approx(update.plain(), rel=1e-4)  # float32: it is the same update
    return interleaved(
        {
            "plain autograd": update.plain,
            "stored": lambda: update.gradient("stored"),
            "replay": lambda: update.gradient("replay"),
            "objective alone": lambda: parts.objective(features, 0),
        },
        repetitions,
    )


@pytest.mark.benchmark
def test_time_of_an_update() -> None:
    seconds = update_seconds(5, 128, REPETITIONS)
    stored, replay = ratio(seconds, "stored", "plain autograd"), ratio(seconds, "replay", "stored")
    attraction = ratio(seconds, "objective alone", "stored")
    show(
        f"processor time of an update, S = 5, N = 128: medians of {REPETITIONS} interleaved rounds",
        [["", "ms"], *([name, 1000 * statistics.median(each)] for name, each in seconds.items())],
    )
    show(
        "ratios",
        [
            ["", "found", "bar"],
            ["stored / plain autograd", stored, 1.05],
            ["replay / stored (4/3 at least)", replay, 1.45],
            ["objective with the whole bank / stored", attraction, "none"],
        ],
    )
    assert stored <= 1.05
    assert replay <= 1.45
