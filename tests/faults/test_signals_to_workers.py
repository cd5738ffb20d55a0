"""Signals to `mmd-ddm finetune --workers`, and Ray's end under it: a checkpoint, then --resume to the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.running import Running
from tests.faults.updates import Updates

pytestmark = [pytest.mark.slow, pytest.mark.faults]
UPDATES, INTERVAL = 40, 10
COMMAND = ("-m", "mmd_ddm", "finetune", "--output", "run")
NEW = (
    *COMMAND, "--workers", 2, "--updates", UPDATES, "--scorings", UPDATES // INTERVAL, "--batch", 8, "--micro-batch", 8,
    "--steps", 2, "--score-images", 8,
)  # fmt: skip
Weights = dict[str, torch.Tensor]


def weights(folder: Path) -> Weights:
    return load_file(folder / "run" / "checkpoint" / "state.safetensors")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Running(folder, *NEW).ended() == 0
    return weights(folder)


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "ctrl-c twice", "gcs_server"])
def test_it_ends_in_order_and_goes_on(how: str, tmp_path: Path, undisturbed: Weights) -> None:
    updates = Updates(tmp_path / "run")
    with updates.followed():
        run = Running(tmp_path, *NEW)
        run.wait_until(lambda: INTERVAL + 2 in updates.made)
        if how == "sigterm":
            run.process.terminate()
        elif how == "gcs_server":
            run.kill(how)
        else:
            run.ctrl_c()
        if how == "ctrl-c twice":
            run.ctrl_c()
        assert run.ended(60) == (1 if how == "gcs_server" else 130), run.errors
        assert "Traceback" not in run.errors
        if how == "gcs_server":
            assert "Ray's control process (gcs_server)" in run.errors
            assert "--resume goes on from the last checkpoint" in run.errors
        else:
            assert f"interrupted; mmd-ddm finetune --resume --output {tmp_path / 'run'} goes on" in run.errors
        assert Running(tmp_path, *COMMAND, "--resume", "--workers", 2).ended() == 0
    starts = updates.starts()
    print(f"{how}: went on from update, with so many made again: {starts}")
    if how in ("ctrl-c", "sigterm"):
        assert updates.made == list(range(1, UPDATES + 1))  # none twice
    else:
        assert all(begun % INTERVAL == 0 and again <= INTERVAL for begun, again in starts)
    ours = weights(tmp_path)
    assert all(torch.equal(ours[name], value) for name, value in undisturbed.items())
