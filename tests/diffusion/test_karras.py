"""Karras' noise levels on any process, most of them between its timesteps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.karras import karras
from mmd_ddm.diffusion.names import MULTISTEP, TWICE
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.diffusion.timesteps import NOISIEST
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, Output, ToyNetwork
from tests.diffusion.cases import cosine, evaluations_of


def sigmas(alpha_bar: torch.Tensor) -> list[float]:
    return [math.sqrt((1 - a) / a) for a in alpha_bar.tolist()]


def test_levels_are_equation_5(noise_schedule: NoiseSchedule) -> None:
    low, high = (math.sqrt((1 - a) / a) for a in noise_schedule.alpha_bar[[0, -1]].tolist())
    ends = [side ** (1 / 7) for side in (high, low)]
    expected = [(ends[0] + i / 9 * (ends[1] - ends[0])) ** 7 for i in range(10)]
    # float64: 1 - alpha_bar of the cleanest level is 1e-4
    assert sigmas(karras(10, noise_schedule.alpha_bar)) == pytest.approx(expected, rel=1e-10)
    assert sigmas(karras(1, noise_schedule.alpha_bar)) == pytest.approx([high], rel=1e-12)


def test_levels_begin_no_noisier_than_solvers_do() -> None:
    schedule = cosine()
    assert float(torch.logit(schedule.alpha_bar[-1])) / 2 < NOISIEST
    assert sigmas(karras(5, schedule.alpha_bar))[0] == pytest.approx(math.exp(-NOISIEST))


class Level(nn.Module):
    """Says what level it is told, by lines in the log-SNR between timesteps."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.lam = torch.logit(schedule.alpha_bar) / 2

    def forward(self, image: torch.Tensor, timestep: torch.Tensor) -> Output:
        below = timestep.floor().long().clamp(max=len(self.lam) - 2)
        lam = torch.lerp(self.lam[below], self.lam[below + 1], timestep - below)
        return Output(lam.view(-1, 1, 1, 1).expand_as(image))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", *MULTISTEP])
def test_the_network_is_told_the_level_of_its_image(sampler: str, noise_schedule: NoiseSchedule) -> None:
    steps = 7
    chain = make_chain(noise_schedule, sampler=sampler, steps=steps, schedule="karras", variance="fixed_small")
    assert chain.levels is not None
    denoiser = Denoiser(Level(noise_schedule), noise_schedule, SHAPE)
    image = torch.zeros(1, *SHAPE, dtype=torch.float64)
    points = zip(chain.timesteps, chain.levels, strict=True)
    told = [float(denoiser.predict(image, time, level).epsilon[0, 0, 0, 0]) for time, level in points]
    count = (steps + 1) // 2 if sampler in TWICE else steps
    levels = [-math.log(sigma) for sigma in sigmas(karras(count, noise_schedule.alpha_bar))]
    if sampler in TWICE:
        levels = [levels[0], *(level for level in levels[1:] for _ in range(2))]
    assert told == pytest.approx(levels, rel=1e-9)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", *MULTISTEP])
def test_a_budget_is_met_at_the_network(sampler: str, noise_schedule: NoiseSchedule) -> None:
    for schedule in (noise_schedule, cosine()):
        chain = make_chain(schedule, sampler=sampler, steps=5, schedule="karras")
        denoiser = Denoiser(ToyNetwork().double().eval(), schedule, SHAPE)
        seen = evaluations_of(denoiser, float)
        images = chain.sample(denoiser, torch.randn(chain.draws, 2, *SHAPE, dtype=torch.float64))
        assert seen == list(chain.timesteps)
        assert len(seen) == 5
        assert torch.isfinite(images).all()


def test_budgets_out_of_range_are_refused(noise_schedule: NoiseSchedule) -> None:
    with pytest.raises(UserError, match="steps is 1001; a budget is 1 to 1000"):
        make_chain(noise_schedule, steps=1001, schedule="karras")
