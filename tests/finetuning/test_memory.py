"""What the two routes keep alive, counted at autograd, and the choice between them."""

from __future__ import annotations

import pytest
import torch

import mmd_ddm.finetuning.memory as memory_module
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.finetuning.gradient import GRADIENTS, Pipeline
from mmd_ddm.finetuning.memory import SavedBytes, stored_graph_fits
from tests.conftest import SHAPE
from tests.digits_update import DigitsUpdate
from tests.memory import PeakSaved


def pipeline_of(toy: Denoiser, space: torch.nn.Module, steps: int) -> Pipeline:
    return Pipeline(toy, make_chain(toy.schedule, steps=steps), space)


def peak(toy: Denoiser, space: torch.nn.Module, route: str, steps: int, batch: int, micro: int) -> int:
    pipeline = pipeline_of(toy, space, steps)
    noise = NoiseSource(0, "training").draw(0, range(batch), 1, SHAPE).double()
    toy.zero_grad()
    with PeakSaved(toy, space) as saved:
        # the loss itself keeps one kernel block; here only the chain counts
        GRADIENTS[route](pipeline, lambda features, update: (torch.zeros(()), features), noise.split(micro, dim=1), 0)
    return saved.peak


def test_replay_keeps_one_evaluation_of_one_micro_batch(toy: Denoiser, toy_space: torch.nn.Module) -> None:
    small = peak(toy, toy_space, "replay", steps=5, batch=64, micro=64)
    assert peak(toy, toy_space, "replay", steps=20, batch=64, micro=64) == small
    assert peak(toy, toy_space, "replay", steps=5, batch=512, micro=64) == small
    assert peak(toy, toy_space, "stored", steps=5, batch=64, micro=64) > 4 * small


def test_replayed_update_of_digits_keeps_the_same_for_more_steps_and_samples() -> None:
    """The whole update, its objective's kernel blocks against 1797 real images included."""
    kept = []
    for update in (DigitsUpdate(2, 128, 32), DigitsUpdate(20, 128, 32), DigitsUpdate(2, 1024, 32)):
        update.prepare()
        with PeakSaved(update.parts.denoiser) as saved:
            update.gradient("replay")
        kept.append(saved.peak)
    assert max(kept) <= 1.1 * kept[0]


@pytest.mark.parametrize("free_factor", [0.5, 2.0])
def test_automatic_choice_compares_the_graph_with_free_memory(
    toy: Denoiser, toy_space: torch.nn.Module, free_factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, batch = pipeline_of(toy, toy_space, 5), 100
    noise = NoiseSource(0, "training").draw(0, range(batch), 1, SHAPE).double()
    with SavedBytes() as saved:
        pipeline.embed(pipeline.trajectory(noise, (0, 0))[-1].image)
    free = int(saved.total / memory_module.SHARE * free_factor)
    monkeypatch.setattr(memory_module, "_free_bytes", lambda device: free)
    assert stored_graph_fits(pipeline, noise[:, :2], batch, processes=1) == (free_factor > 1)
    assert not stored_graph_fits(pipeline, noise[:, :2], batch, processes=3)
