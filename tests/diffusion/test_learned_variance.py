"""DDPM with a network that has learned its variance: its formula, its name, and the law of the gradient."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from mmd_ddm.diffusion.chain import State
from mmd_ddm.diffusion.ddpm import DDPM
from mmd_ddm.diffusion.denoiser import Denoiser, Prediction
from mmd_ddm.diffusion.names import VARIANCES
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE
from tests.diffusion.cases import LearnedNetwork
from tests.finetuning.test_gradient import GRADIENTS, SIZES, Setting, assert_same


def learned(noise_schedule: NoiseSchedule) -> NoiseSchedule:
    return NoiseSchedule(noise_schedule.alpha_bar, "epsilon", "learned_range")


def test_the_variance_is_the_models_own_and_matters(noise_schedule: NoiseSchedule) -> None:
    denoiser = Denoiser(LearnedNetwork().eval(), learned(noise_schedule), SHAPE)
    noise = torch.randn(5, 4, *SHAPE)
    own, same, small = (
        make_chain(denoiser.schedule, sampler="ddpm", variance=variance).sample(denoiser, noise)
        for variance in ("model", "learned_range", "fixed_small")
    )
    assert torch.equal(own, same)
    assert not torch.allclose(own, small, rtol=1e-2)


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
    from mmd_ddm.pretrained.load import load_denoiser
    from mmd_ddm.pretrained.locate import SHIPPED

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
