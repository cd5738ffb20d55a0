"""Under Ray Train too, 6 updates are 3 updates, a stop and 3 updates, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmd_ddm.experiment.distributed.run import run_distributed
from mmd_ddm.experiment.presets import preset

pytestmark = pytest.mark.slow


def weights_after(folder: Path, *ends: int) -> dict[str, torch.Tensor]:
    for updates in ends:
        config = preset("best", "digits").replace(
            updates=updates, batch=10, micro_batch=3, eta=0.5, gradient="replay", scorings=1, score_images=20
        )
        run_distributed(config, folder, workers=2, report=lambda row: None)
    return load_file(folder / "checkpoint/state.safetensors")


def test_resume_is_bit_exact_with_two_workers(tmp_path: Path) -> None:
    whole, parts = weights_after(tmp_path / "whole", 6), weights_after(tmp_path / "parts", 3, 6)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(parts[name], value) for name, value in whole.items())
