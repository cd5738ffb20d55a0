"""DDPM with a network that has learned its variance: against diffusers, the formula, and the law of the gradient."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from mmd_ddm.diffusion.chain import State
from mmd_ddm.diffusion.ddpm import DDPM
from mmd_ddm.diffusion.denoiser import Denoiser, Prediction
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import VARIANCES, make_chain
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, Output, ToyNetwork
from tests.diffusion.test_chain import PREDICTIONS, NoiseReplay, reference
from tests.finetuning.test_gradient import GRADIENTS, SIZES, Setting, assert_same


class LearnedNetwork(nn.Module):
    """Two toys side by side: epsilon, and v of the size of a well trained network's, mostly in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.epsilon, self.variance = ToyNetwork(), ToyNetwork()

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        halves = (self.epsilon(image, timestep).sample, self.variance(image, timestep).sample)
        return Output(torch.cat(halves, dim=1))


def learned(noise_schedule: NoiseSchedule) -> NoiseSchedule:
    return NoiseSchedule(noise_schedule.alpha_bar, "epsilon", "learned_range")


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("beta_schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("steps", [5, 20])
def test_learned_range_equals_diffusers(
    prediction: str, beta_schedule: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDPMScheduler(
        clip_sample=False, prediction_type=prediction, variance_type="learned_range", beta_schedule=beta_schedule
    )
    scheduler.set_timesteps(steps)
    schedule = NoiseSchedule.from_scheduler_config(scheduler.config)
    chain = make_chain(schedule, sampler="ddpm", steps=steps)
    assert chain.timesteps == tuple(scheduler.timesteps.tolist())
    network = LearnedNetwork().eval()
    noise = NoiseSource(3, "test").draw(0, range(4), chain.draws, SHAPE)
    NoiseReplay(monkeypatch, "scheduling_ddpm", noise)
    with torch.no_grad():
        ours = chain.sample(Denoiser(network, schedule, SHAPE), noise)
        theirs = reference(network, scheduler, noise)
        small = make_chain(schedule, sampler="ddpm", steps=steps, variance="fixed_small")
        assert not torch.allclose(small.sample(Denoiser(network, schedule, SHAPE), noise), ours, rtol=1e-2)
    # as for the fixed variances: float32 rounding along the chain
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_range_ends_at_the_fixed_variances() -> None:
    """v = -1 is the posterior's variance, v = 1 is beta, and v = 0 is their geometric mean."""
    levels = (0.2, 0.7)
    image, epsilon, noise = (torch.randn(4, *SHAPE, dtype=torch.float64) for _ in range(3))

    def spread(variance: str, v: Tensor | None) -> Tensor:
        solver, predicted = DDPM(levels, variance), Prediction(epsilon, v)
        state = State(image)
        return (solver.step(state, predicted, 0, noise).image - solver.step(state, predicted, 0, None).image) / noise

    small, large = spread("fixed_small", None), spread("fixed_large", None)
    beta = 1 - 0.2 / 0.7
    torch.testing.assert_close(large, torch.full_like(large, math.sqrt(beta)))
    torch.testing.assert_close(spread("learned_range", -torch.ones_like(image)), small)
    torch.testing.assert_close(spread("learned_range", torch.ones_like(image)), large)
    torch.testing.assert_close(spread("learned_range", torch.zeros_like(image)), (small * large).sqrt())
    v = torch.rand_like(image) * 2 - 1
    torch.testing.assert_close(spread("learned_range", v), large ** ((1 + v) / 2) * small ** ((1 - v) / 2))


def test_ddim_looks_at_epsilon_alone(noise_schedule: NoiseSchedule) -> None:
    network = LearnedNetwork().double().eval()
    both, half = Denoiser(network, learned(noise_schedule), SHAPE), Denoiser(network.epsilon, noise_schedule, SHAPE)
    noise = torch.randn(5, 3, *SHAPE, dtype=torch.float64)
    chain = make_chain(noise_schedule, steps=5, eta=0.5)
    assert torch.equal(chain.sample(both, noise), chain.sample(half, noise))
    assert torch.equal(both(noise[0], 7), both.predict(noise[0], 7).epsilon)
    assert half.predict(noise[0], 7).variance is None


class LearnedSetting(Setting):
    """The problem of the gradient's tests with a network that has learned its variance."""

    def __init__(self) -> None:
        super().__init__("cubic", "ddpm", "bank", SingleCollective())
        schedule = learned(self.denoiser.schedule)
        self.denoiser = Denoiser(LearnedNetwork().double(), schedule, SHAPE).eval()
        self.chain = make_chain(schedule, sampler="ddpm", steps=4)


def test_replayed_and_stored_gradients_agree_and_reach_the_variance() -> None:
    setting = LearnedSetting()
    expected = setting.expected()
    through = [p.grad for p in setting.denoiser.network.variance.parameters()]
    assert all(float(gradient.norm()) > 1e-6 for gradient in through)
    for route in GRADIENTS:
        for sizes in SIZES.values():
            assert_same(setting.gradient(route, sizes), expected)


def test_the_models_own_variance_is_the_default(noise_schedule: NoiseSchedule) -> None:
    alpha_bar = noise_schedule.alpha_bar
    for own in VARIANCES[1:]:
        assert make_chain(NoiseSchedule(alpha_bar, "epsilon", own), sampler="ddpm").solver.variance == own
    with pytest.raises(UserError, match="says nothing about variance_type; choose variance fixed_small"):
        make_chain(NoiseSchedule(alpha_bar, "epsilon", None), sampler="ddpm")
    with pytest.raises(UserError, match="variance_type 'learned', which is not supported"):
        make_chain(NoiseSchedule(alpha_bar, "epsilon", "learned"), sampler="ddpm")
    with pytest.raises(UserError, match="has not learned it"):
        make_chain(noise_schedule, sampler="ddpm", variance="learned_range")
    with pytest.raises(UserError, match="it must be one of model, fixed_small"):
        make_chain(noise_schedule, sampler="ddpm", variance="small")
    assert make_chain(NoiseSchedule(alpha_bar, "epsilon", None)).timesteps  # DDIM has no use for it


def test_the_shipped_model_samples_as_before() -> None:
    from mmd_ddm.pretrained.load import SHIPPED, load_denoiser

    schedule = load_denoiser(Path(SHIPPED) / "digits").schedule
    assert (
        make_chain(schedule, sampler="ddpm").solver
        == make_chain(schedule, sampler="ddpm", variance="fixed_small").solver
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ({"thresholding": True}, "thresholding"),
        ({"clip_sample": True, "clip_sample_range": 3.0}, r"clip_sample_range .* is 3\.0"),
    ],
)
def test_what_chains_cannot_do_is_refused_by_name(entry: dict[str, object], message: str) -> None:
    config = dict(DDPMScheduler().config)
    assert NoiseSchedule.from_scheduler_config(config).variance_type == "fixed_small"
    with pytest.raises(UserError, match=message):
        NoiseSchedule.from_scheduler_config({**config, **entry})
