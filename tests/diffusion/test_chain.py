"""Whole chains against diffusers' schedulers, and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.diffusion.timesteps import timesteps
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, Output, ToyNetwork

PREDICTIONS = ("epsilon", "sample", "v_prediction")


class NoiseReplay:
    """Gives a diffusers scheduler the chain's own noise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: str, noise: Tensor) -> None:
        self.queue = list(noise[1:])
        monkeypatch.setattr(f"diffusers.schedulers.{module}.randn_tensor", lambda *a, **k: self.take())

    def take(self) -> Tensor:
        return self.queue.pop(0) if self.queue else torch.zeros(())


def reference(network: nn.Module, scheduler, noise: Tensor, **extra: float) -> Tensor:
    image = noise[0]
    for t in scheduler.timesteps:
        output = network(image, t.expand(len(image))).sample
        image = scheduler.step(output, t, image, **extra).prev_sample
    return image


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("steps", "eta"), [(5, 0.0), (20, 0.0), (5, 0.7), (20, 1.0)])
def test_ddim_equals_diffusers(prediction: str, steps: int, eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = DDIMScheduler(clip_sample=False, prediction_type=prediction, beta_end=0.02, beta_start=1e-4)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule.from_scheduler_config(scheduler.config)
    chain = make_chain(schedule, steps=steps, eta=eta)
    assert chain.timesteps == tuple(scheduler.timesteps.tolist())
    compare(schedule, chain, scheduler, monkeypatch, "scheduling_ddim", eta=eta)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("steps", [5, 20])
def test_ddpm_equals_diffusers(prediction: str, variance: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = DDPMScheduler(clip_sample=False, prediction_type=prediction, variance_type=variance)
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule.from_scheduler_config(scheduler.config)
    chain = make_chain(schedule, sampler="ddpm", steps=steps, variance=variance)
    assert chain.timesteps == tuple(scheduler.timesteps.tolist())
    compare(schedule, chain, scheduler, monkeypatch, "scheduling_ddpm")


def compare(schedule, chain, scheduler, monkeypatch: pytest.MonkeyPatch, module: str, **extra: float) -> None:
    # outputs of order one for each prediction type: chains neither die out nor explode
    network = ToyNetwork().eval()
    noise = NoiseSource(3, "test").draw(0, range(4), chain.draws, SHAPE)
    NoiseReplay(monkeypatch, module, noise)
    with torch.no_grad():
        ours = chain.sample(Denoiser(network, schedule, SHAPE), noise)
        theirs = reference(network, scheduler, noise, **extra)
    # float32 rounding, carried on by a chain whose first division is by sqrt(alpha_bar) >= 0.03 (t = 800 ... 950)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_full_length_ddim_equals_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = DDIMScheduler(clip_sample=False, beta_end=0.02, beta_start=1e-4)
    scheduler.set_timesteps(1000)
    schedule = NoiseSchedule.from_scheduler_config(scheduler.config)
    compare(schedule, make_chain(schedule, steps=1000), scheduler, monkeypatch, "scheduling_ddim", eta=0.0)


def test_perfect_denoiser_of_a_point_gives_the_point(noise_schedule: NoiseSchedule) -> None:
    """Data that is one point c has epsilon = (x - sqrt(a) c) / sqrt(1 - a), and DDIM returns c whatever the steps."""
    point = torch.linspace(-1, 1, 12, dtype=torch.float64).view(SHAPE)

    class Perfect(nn.Module):
        def forward(self, image: Tensor, timestep: Tensor) -> Output:
            a = noise_schedule.alpha_bar[timestep][:, None, None, None]
            return Output((image - a.sqrt() * point) / (1 - a).sqrt())

    denoiser = Denoiser(Perfect(), noise_schedule, SHAPE)
    for steps in (1, 3, 10):
        chain = make_chain(noise_schedule, steps=steps)
        images = chain.sample(denoiser, torch.randn(1, 2, *SHAPE, dtype=torch.float64))
        torch.testing.assert_close(images, point.expand(2, *SHAPE), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0)])
def test_gaussian_data_closed_form(sampler: str, eta: float, noise_schedule: NoiseSchedule) -> None:
    """For N(0, s^2) data the optimal epsilon is linear and the sample's variance follows a recursion by hand."""
    variance = 0.25

    class Linear(nn.Module):
        def forward(self, image: Tensor, timestep: Tensor) -> Output:
            a = noise_schedule.alpha_bar[timestep][:, None, None, None]
            return Output((1 - a).sqrt() / (a * variance + 1 - a) * image)

    chain = make_chain(noise_schedule, sampler=sampler, steps=10, eta=eta)
    levels = [float(noise_schedule.alpha_bar[t]) for t in chain.timesteps] + [1.0]
    expected = 1.0
    for a, b in pairwise(levels):
        slope = math.sqrt(1 - a) / (a * variance + 1 - a)
        clean = (1 - math.sqrt(1 - a) * slope) / math.sqrt(a)
        sigma2 = (1 - b) / (1 - a) * (1 - a / b) * (1.0 if sampler == "ddpm" else eta**2)
        gain = math.sqrt(b) * clean + math.sqrt(1 - b - sigma2) * slope
        expected = gain**2 * expected + sigma2
    denoiser = Denoiser(Linear(), noise_schedule, SHAPE)
    count = 20000
    images = chain.sample(denoiser, torch.randn(chain.draws, count, *SHAPE, dtype=torch.float64))
    # the variance of n normals has relative standard error sqrt(2/n); five of them
    assert abs(float(images.var()) / expected - 1) < 5 * math.sqrt(2 / images.numel())


def test_ddim_with_eta_one_is_ddpm(toy: Denoiser) -> None:
    ddim = make_chain(toy.schedule, steps=6, eta=1.0)
    ddpm = make_chain(toy.schedule, sampler="ddpm", steps=6)
    noise = torch.randn(6, 3, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(ddim.sample(toy, noise), ddpm.sample(toy, noise), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "quadratic", "stride"])
def test_evaluations_counted_at_the_network(schedule: str, toy: Denoiser) -> None:
    seen: list[int] = []
    toy.network.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[1][0])))
    chain = make_chain(toy.schedule, steps=15, schedule=schedule)
    chain.sample(toy, torch.randn(1, 2, *SHAPE, dtype=torch.float64))
    assert seen == sorted(timesteps(schedule, 15, 1000), reverse=True)


def test_noise_depends_on_seed_stream_and_position_alone() -> None:
    source = NoiseSource(7, "training")
    whole = source.draw(5, range(6), 3, SHAPE)
    assert torch.equal(whole[:, 2:4], source.draw(5, [2, 3], 3, SHAPE))
    others = [NoiseSource(8, "training"), NoiseSource(7, "evaluation")]
    for other in (*(o.draw(5, range(6), 3, SHAPE) for o in others), source.draw(6, range(6), 3, SHAPE)):
        assert not torch.equal(whole, other)


@pytest.mark.parametrize("missing", ["prediction_type", "beta_start", "num_train_timesteps"])
def test_incomplete_scheduler_config_is_refused_by_name(missing: str) -> None:
    config = dict(DDIMScheduler().config)
    del config[missing]
    with pytest.raises(UserError, match=missing):
        NoiseSchedule.from_scheduler_config(config)
