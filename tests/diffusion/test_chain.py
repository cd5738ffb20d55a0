"""Chains: their relations to each other, their noise, and their schedules; `test_solvers` has the laws of each."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.diffusion.timesteps import WHOLE, timesteps
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, ToyNetwork
from tests.diffusion.cases import evaluations_of, rollout


def test_full_length_ddim_equals_diffusers() -> None:
    scheduler = DDIMScheduler(clip_sample=False, beta_end=0.02, beta_start=1e-4)
    scheduler.set_timesteps(1000)
    schedule, network = NoiseSchedule.from_scheduler_config(scheduler.config), ToyNetwork().eval()
    noise = NoiseSource(3, "test").draw(0, range(4), 1, SHAPE)
    with torch.no_grad():
        ours = make_chain(schedule, steps=1000).sample(Denoiser(network, schedule, SHAPE), noise)
    theirs = rollout(network, scheduler, noise)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_ddim_with_eta_one_is_ddpm(toy: Denoiser) -> None:
    ddim = make_chain(toy.schedule, steps=6, eta=1.0)
    ddpm = make_chain(toy.schedule, sampler="ddpm", steps=6)
    noise = torch.randn(6, 3, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(ddim.sample(toy, noise), ddpm.sample(toy, noise), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", WHOLE)
def test_evaluations_counted_at_the_network(schedule: str, toy: Denoiser) -> None:
    seen = evaluations_of(toy)
    chain = make_chain(toy.schedule, steps=15, schedule=schedule)
    chain.sample(toy, torch.randn(1, 2, *SHAPE, dtype=torch.float64))
    assert seen == sorted(timesteps(schedule, 15, toy.schedule.alpha_bar.tolist()), reverse=True)


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
