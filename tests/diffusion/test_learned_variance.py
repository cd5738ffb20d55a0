"""DDPM with a network that has learned its variance: its formula, its name, and the law of the gradient."""

from __future__ import annotations

import math
from itertools import pairwise
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


def test_a_long_cosine_process_equals_the_original_code() -> None:
    """Nichol & Dhariwal's respaced process of 5 of 4 000 steps, restated with tables in float64."""
    settings = {"num_train_timesteps": 4000, "beta_schedule": "squaredcos_cap_v2", "variance_type": "learned_range"}
    config = DDPMScheduler(**settings).config
    schedule, network = NoiseSchedule.from_scheduler_config(config), LearnedNetwork().eval()
    chain = make_chain(schedule, sampler="ddpm", steps=5)
    noise = torch.randn(chain.draws, 16, *SHAPE)
    found = chain.sample(Denoiser(network, schedule, SHAPE), noise)

    level = [math.cos((t / 4000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(4001)]
    ratios = [1 - min(1 - after / before, 0.999) for before, after in pairwise(level)]
    kept = torch.tensor(ratios, dtype=torch.float64).cumprod(0)
    times = sorted(int(t) for t in chain.timesteps)
    bar = kept[times]
    before = torch.cat([torch.ones(1).double(), bar[:-1]])
    beta = 1 - bar / before
    posterior = beta * (1 - before) / (1 - bar)
    posterior[0] = posterior[1]
    image = noise[0].double()
    for k, i in enumerate(reversed(range(5)), 1):
        with torch.no_grad():
            predicted = network(image.float(), torch.full((len(image),), times[i])).sample.double()
        epsilon, v = predicted.chunk(2, dim=1)
        clean = (image - (1 - bar[i]).sqrt() * epsilon) / bar[i].sqrt()
        image = (beta[i] * before[i].sqrt() * clean + (1 - before[i]) * (1 - beta[i]).sqrt() * image) / (1 - bar[i])
        variance = torch.exp((1 + v) / 2 * beta[i].log() + (1 - v) / 2 * posterior[i].log())
        image = image + (variance.sqrt() * noise[k].double() if i else 0)
    # 5 steps of a dozen roundings to float32 each, which add up like a random walk: sqrt(60) / 2^24
    torch.testing.assert_close(found.double(), image, rtol=0, atol=5e-7 * float(image.abs().max()))
