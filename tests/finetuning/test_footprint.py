"""What a route needs by what a device says, on a device that counts and whose sizes are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import mmd_ddm.finetuning.memory as memory_module
from mmd_ddm import compilation
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.finetuning.footprint import Need, cuda_peak, measured
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.memory import Route, choose_route
from tests.conftest import SHAPE, ToyNetwork

STEPS = 5
EVALUATION, FEATURES = 7000, 3000  # bytes that each image's graph keeps of an evaluation, and of its features
WORKSPACE = 90_000  # of each pass
HANDLES = 1_000_000  # that stay from the first pass on


class Device:
    """Memory of some size, of which each pass takes what is written above."""

    def __init__(self, size: float = math.inf) -> None:
        self.size, self.taken, self.most, self.passes = size, 0, 0, 0

    def take(self, count: int) -> None:
        self.taken += count
        self.most = max(self.most, self.taken)
        if self.taken > self.size:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more")

    def peak(self, work: Callable[[], None]) -> int:
        """As of `torch.cuda.max_memory_allocated`."""
        before = self.most = self.taken
        work()
        assert self.taken == before
        return self.most - before


class Pass(torch.autograd.Function):
    """The identity, for whose backward pass so many bytes an image are kept."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, device: Device, each: int) -> Tensor:
        device.take(len(x) * each)
        if not x.requires_grad:  # nothing is kept: it is free again
            device.taken -= len(x) * each
        ctx.kept = device, len(x) * each  # type: ignore[attr-defined]
        return x.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        device, kept = ctx.kept  # type: ignore[attr-defined]
        device.taken -= kept
        return gradient, None, None


class Kept(nn.Module):
    """A network on such a device."""

    def __init__(self, network: nn.Module, device: Device, each: int) -> None:
        super().__init__()
        self.network, self.device, self.each = network, device, each

    def forward(self, x: Tensor, times: Tensor) -> object:
        return SimpleNamespace(sample=Pass.apply(self.network(x, times).sample, self.device, self.each))


def pipeline_on(device: Device, levels: NoiseSchedule) -> Rollout:
    denoiser = Denoiser(Kept(ToyNetwork(), device, EVALUATION), levels, SHAPE, compiled=True).eval()

    def embed(images: Tensor) -> Tensor:
        features: Tensor = Pass.apply(images.flatten(1), device, FEATURES)
        return features

    return Rollout(denoiser, make_chain(levels, steps=STEPS), embed)


def trial() -> Start:
    return Start(NoiseSource(0, "training").draw(0, range(4), 1, SHAPE))


@pytest.fixture
def levels(noise_schedule: NoiseSchedule, monkeypatch: pytest.MonkeyPatch) -> NoiseSchedule:
    def refused(function: object) -> None:
        raise AssertionError("compiled for a trial run")

    monkeypatch.setattr(compilation, "_compile", refused)
    return noise_schedule


class Growing(Device):
    """Whose passes need somewhat more besides, of which some stays from the first on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = False

    def take(self, count: int) -> None:
        if not self.begun:
            self.begun, self.taken = True, self.taken + HANDLES
        super().take(count)

    def peak(self, work: Callable[[], None]) -> int:
        return super().peak(work) + WORKSPACE


def test_a_route_needs_what_the_device_says(levels: NoiseSchedule) -> None:
    """All evaluations and the features of each image, or the larger of the two, beside what is there once."""
    device = Growing()
    pipeline = pipeline_on(device, levels)
    need = measured(pipeline, trial(), device.peak)
    assert need("stored") == Need(WORKSPACE, STEPS * EVALUATION + FEATURES)
    assert need("replay") == Need(WORKSPACE, max(EVALUATION, FEATURES))
    assert device.taken == HANDLES
    assert all(parameter.grad is None for parameter in pipeline.denoiser.parameters())


STORED = WORKSPACE + 100 * (STEPS * EVALUATION + FEATURES)
STATES = 100 * (STEPS + 1) * SHAPE[0] * SHAPE[1] * SHAPE[2] * 4  # of a batch of 100, float32
REPLAYED = STATES + WORKSPACE


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (STORED + 10, Route("stored", 100)),
        (STORED - 10, Route("replay", 100)),
        (REPLAYED + 100 * EVALUATION + 10, Route("replay", 100)),
        (REPLAYED + 100 * EVALUATION - 10, Route("replay", 64)),
        (REPLAYED + 64 * EVALUATION - 10, Route("replay", 32)),
        (REPLAYED + 3.9 * EVALUATION, Route("replay", 2)),
        (0, Route("replay", 1)),
    ],
)
def test_what_fits_is_chosen_by_what_the_device_says(
    room: float, expected: Route, levels: NoiseSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Growing()
    monkeypatch.setattr(memory_module, "free_bytes", lambda on: room / memory_module.SHARE)
    pipeline, open_ = pipeline_on(device, levels), {"gradient": "auto", "micro_batch": None}
    assert choose_route(pipeline, trial(), 100, 1, **open_, peak=device.peak) == expected


def test_what_does_not_even_fit_a_trial_run_is_replayed_image_by_image(levels: NoiseSchedule) -> None:
    """Four images have room for the replayed chain, not for the stored graph; or for neither."""
    for size, expected in ((4 * EVALUATION, Need(0, EVALUATION)), (EVALUATION, Need(math.inf, math.inf))):
        device = Device(size)
        need = measured(pipeline_on(device, levels), trial(), device.peak)
        assert need("stored") == Need(math.inf, math.inf)
        device.taken = 0  # what a graph keeps is gone with it
        assert need("replay") == expected
    assert need("stored").fitting(1e12) == 0


def test_other_errors_of_a_trial_run_pass(levels: NoiseSchedule) -> None:
    def broken(work: Callable[[], None]) -> int:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        measured(pipeline_on(Device(), levels), trial(), broken)("replay")


def test_a_gpu_says_what_it_held_at_most_beyond_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    device.take(500)
    device.most = 9000  # once, before
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda on: device.taken)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda on: setattr(device, "most", device.taken))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda on: device.most)

    def work() -> None:
        device.take(70)
        device.taken -= 70
        device.take(40)

    assert cuda_peak(torch.device("cuda"), work) == 70
