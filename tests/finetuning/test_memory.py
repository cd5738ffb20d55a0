"""What the two routes keep alive, counted at autograd, and the choice between them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

import mmd_ddm.finetuning.memory as memory_module
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.finetuning.footprint import Need, counted, footprint
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.memory import Route, choose_route
from tests.conftest import SHAPE
from tests.digits_update import DigitsUpdate
from tests.memory import PeakSaved


def pipeline_of(toy: Denoiser, space: torch.nn.Module, steps: int) -> Rollout:
    return Rollout(toy, make_chain(toy.schedule, steps=steps), space)


def peak(toy: Denoiser, space: torch.nn.Module, route: str, steps: int, batch: int, micro: int) -> int:
    pipeline = pipeline_of(toy, space, steps)
    start = Start(NoiseSource(0, "training").draw(0, range(batch), 1, SHAPE).double())
    toy.zero_grad()
    with PeakSaved(toy, space) as saved:
        # the loss itself keeps one kernel block; here only the chain counts
        GRADIENTS[route](pipeline, lambda features, update: (torch.zeros(()), features), start.split(micro), 0)
    return saved.peak


def test_replay_keeps_one_evaluation_of_one_micro_batch(toy: Denoiser, toy_space: torch.nn.Module) -> None:
    small = peak(toy, toy_space, "replay", steps=5, batch=64, micro=64)
    assert peak(toy, toy_space, "replay", steps=20, batch=64, micro=64) == small
    assert peak(toy, toy_space, "replay", steps=5, batch=512, micro=64) == small
    assert peak(toy, toy_space, "stored", steps=5, batch=64, micro=64) > 4 * small


def test_replayed_update_of_digits_keeps_the_same_for_more_steps_and_samples() -> None:
    """The whole update, its objective's kernel blocks against 1797 real images included."""
    kept = []
    for update in (DigitsUpdate(2, 64, 16), DigitsUpdate(10, 64, 16), DigitsUpdate(2, 512, 16)):
        update.prepare()
        with PeakSaved(update.parts.denoiser) as saved:
            update.gradient("replay")
        kept.append(saved.peak)
    assert max(kept) <= 1.1 * kept[0]


def test_footprint_adds_up_to_the_whole_graph(toy: Denoiser, toy_space: torch.nn.Module) -> None:
    pipeline = pipeline_of(toy, toy_space, 5)
    start = Start(NoiseSource(0, "training").draw(0, range(100), 1, SHAPE).double())
    with PeakSaved(toy, toy_space) as saved:
        features = pipeline.features(pipeline.trajectory(start, (0, 0))[-1])
    found = footprint(pipeline, start.split(2)[0])
    # the first step's input needs no gradient, so it keeps a little less than the others
    assert 100 * found.stored(5) == pytest.approx(saved.peak, rel=0.2)
    assert features.requires_grad


class Halving(torch.nn.Module):
    """Makes something of its weights at each evaluation, and not of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.weight = (torch.nn.Parameter(torch.ones(SHAPE, dtype=torch.float64)) for _ in range(2))

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> object:
        return SimpleNamespace(sample=x * self.gain * (self.weight / 2))


def test_what_a_network_makes_of_its_weights_counts_once_an_evaluation(toy_space: torch.nn.Module) -> None:
    levels = NoiseSchedule(torch.linspace(0.999, 0.001, 1000, dtype=torch.float64))
    pipeline = pipeline_of(Denoiser(Halving(), levels, SHAPE).double(), toy_space, 5)
    start = Start(NoiseSource(0, "training").draw(0, range(4), 1, SHAPE).double())
    image = 8 * math.prod(SHAPE)
    # beside the two parameters themselves: half of the weight, which no sample has of its own
    assert footprint(pipeline, start).shared == image
    # and of each sample what goes into either product
    assert footprint(pipeline, start).evaluation == 2 * image
    assert counted(pipeline, start)("stored") == Need(5 * image, footprint(pipeline, start).stored(5))
    assert counted(pipeline, start)("replay").fixed == image


@pytest.mark.parametrize(
    ("room", "gradient", "micro_batch", "expected"),
    [
        (1.1 * 100 * 5.5, "auto", None, Route("stored", 100)),
        (0.9 * 100 * 5.5, "auto", None, Route("replay", 100)),
        (99.0, "auto", None, Route("replay", 64)),
        (7.0, "auto", None, Route("replay", 4)),
        (0.1, "auto", None, Route("replay", 1)),
        (7.0, "auto", 50, Route("replay", 50)),
        (7.0, "stored", None, Route("stored", 100)),
        (1e9, "replay", None, Route("replay", 100)),
        (1e9, "auto", 7, Route("stored", 7)),
    ],
)
def test_what_is_left_open_is_chosen_by_the_free_memory(
    toy: Denoiser,
    toy_space: torch.nn.Module,
    room: float,
    gradient: str,
    micro_batch: int | None,
    expected: Route,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An evaluation of a sample keeps 1 unit, its features half a unit; `room` is in units, for a batch of 100."""
    unit = 1 << 20
    needs = {"stored": Need(0, 5.5 * unit), "replay": Need(0, unit)}
    monkeypatch.setattr(memory_module, "counted", lambda pipeline, start: needs.__getitem__)
    pipeline = pipeline_of(toy, toy_space, 5)
    start = Start(torch.zeros(1, 2, *SHAPE))
    for processes in (1, 3):
        free = int(processes * room * unit / memory_module.SHARE)
        monkeypatch.setattr(memory_module, "free_bytes", lambda device, free=free: free)
        assert choose_route(pipeline, start, 100, processes, gradient=gradient, micro_batch=micro_batch) == expected


@pytest.mark.parametrize(
    ("free", "own", "cached", "share", "expected"),
    [
        (60, 10, 0, 1.0, 60),  # a GPU of its own, of which others have 10
        (60, 10, 5, 1.0, 65),  # what PyTorch has cached is free for it
        (60, 10, 5, 0.25, 10),  # of its share of 20, 10 are taken
        (4, 10, 2, 0.25, 6),  # others took more than theirs
        (60, 25, 0, 0.25, 0),
    ],
)
def test_a_gpu_that_is_shared_is_counted_as_shared(
    free: int, own: int, cached: int, share: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU of 80 units."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: own)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: own + cached)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: share)
    assert memory_module.free_bytes(torch.device("cuda")) == expected


@pytest.mark.gpu
def test_what_is_chosen_on_a_gpu_fits_its_share() -> None:
    device = torch.device("cuda")
    total = torch.cuda.mem_get_info(device)[1]
    memory_module.keep_to_share(device, 0.1)
    try:
        assert memory_module.free_bytes(device) <= 0.1 * total
        update = DigitsUpdate(5, 8192, 8192)
        parts = Parts(update.parts.config, device)
        gradient = UpdateGradient(parts)
        route = gradient.choose_route()
        assert gradient.compute(route, 0)[1] == route
        assert torch.cuda.max_memory_allocated(device) <= 0.1 * total
    finally:
        memory_module.keep_to_share(device, 1.0)
