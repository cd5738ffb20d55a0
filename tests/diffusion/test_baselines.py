"""The budgets and timesteps of published samplers; the laws that they share with chains are in `test_solvers`."""

from __future__ import annotations

import warnings
from itertools import pairwise

import diffusers
import pytest
import torch

from mmd_ddm.diffusion.baselines import Baseline, make_baseline
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.names import BASELINES
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.published_samplers import PUBLISHED, log_snr
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, ToyNetwork
from tests.diffusion.cases import cosine, rollout, scheduler_of

BUDGETS = (*range(1, 26), 50)


def feasible(name: str, schedule: NoiseSchedule, evaluations: int) -> Baseline | None:
    try:
        return make_baseline(name, schedule, evaluations)
    except UserError:
        return None


def test_all_published_samplers_have_their_names() -> None:
    assert tuple(PUBLISHED) == BASELINES


def test_which_budgets_each_sampler_has(noise_schedule: NoiseSchedule) -> None:
    """Heun: two a step, one in the last; Runge-Kutta start: 12 for 3 steps, then one more; plms: one step is two."""
    expected = {"heun": [b for b in BUDGETS if b % 2], "pndm": [b for b in BUDGETS if b >= 13]}
    expected["plms"] = [b for b in BUDGETS if b >= 3]
    for name in BASELINES:
        had = [b for b in BUDGETS if feasible(name, noise_schedule, b)]
        assert had == expected.get(name, list(BUDGETS)), name


@pytest.mark.parametrize("name", ["dpm", "DDIM", ""])
def test_unknown_name_is_refused(name: str, noise_schedule: NoiseSchedule) -> None:
    with pytest.raises(UserError, match="must be one of ddpm, ddim"):
        make_baseline(name, noise_schedule, 5)


@pytest.mark.parametrize("name", BASELINES)
def test_as_many_steps_as_a_short_process_has(name: str) -> None:
    """In 8 timesteps each budget works or is refused, and the largest uses all that the solver can tell apart."""
    schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(0.05, 0.5, 8, dtype=torch.float64), 0))
    denoiser = Denoiser(ToyNetwork().eval(), schedule, SHAPE)
    made = [baseline for budget in range(-1, 30) if (baseline := feasible(name, schedule, budget))]
    for baseline in made:
        assert torch.isfinite(baseline.sample(denoiser, torch.randn(baseline.draws, 2, *SHAPE))).all()
        assert all(0 <= t < 8 for t in baseline.timesteps)
    # the grids of multistep solvers from Lu et al. on spend timestep 0 on the end
    assert len(set(made[-1].timesteps)) == (7 if name.startswith(("dpm", "unipc", "deis")) else 8)


@pytest.mark.parametrize("name", ["dpm-solver-2", "dpm-solver++"])
def test_log_snr_variants_differ_in_their_timesteps_alone(name: str, noise_schedule: NoiseSchedule) -> None:
    network = ToyNetwork().eval()
    noise = torch.randn(1, 3, *SHAPE)
    chosen = log_snr(noise_schedule.alpha_bar, 8)
    ours = make_baseline(f"{name}-logsnr", noise_schedule, 8)
    assert ours.timesteps == tuple(chosen)
    theirs = rollout(network, scheduler_of(name, noise_schedule, 8, chosen), noise)
    images = ours.sample(Denoiser(network, noise_schedule, SHAPE), noise)
    torch.testing.assert_close(images, theirs, rtol=0, atol=1e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("steps", [1, 5, 20])
def test_log_snr_is_as_even_as_whole_timesteps_allow(steps: int, noise_schedule: NoiseSchedule) -> None:
    snr = torch.logit(noise_schedule.alpha_bar)
    chosen = log_snr(noise_schedule.alpha_bar, steps)
    assert chosen[0] == 999
    for i, t in enumerate(chosen):
        ideal = float(snr[-1] + (snr[0] - snr[-1]) * i / steps)
        assert abs(float(snr[t]) - ideal) == min(abs(float(value) - ideal) for value in snr)


@pytest.mark.parametrize("steps", [50, 300, 998, 999])
def test_log_snr_keeps_timesteps_apart(steps: int, noise_schedule: NoiseSchedule) -> None:
    """At the clean end 50 even steps are finer than the timesteps."""
    chosen = log_snr(noise_schedule.alpha_bar, steps)
    assert len(chosen) == steps
    assert chosen[0] == 999
    assert chosen[-1] == 1
    assert all(after < before for before, after in pairwise(chosen))


def test_cosine_schedules_are_clipped_as_diffusers_clips_them() -> None:
    network, schedule = ToyNetwork().eval(), cosine(400)
    baseline = make_baseline("dpm-solver++", schedule, 8)
    settings = {"num_train_timesteps": 400, "beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
    scheduler = diffusers.DPMSolverMultistepScheduler(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.set_timesteps(8)
    assert baseline.timesteps == tuple(scheduler.timesteps.tolist())
    assert baseline.timesteps[0] < 399
    noise = torch.randn(1, 2, *SHAPE)
    theirs = rollout(network, scheduler, noise)
    ours = baseline.sample(Denoiser(network, schedule, SHAPE), noise)
    # betas read off float32 alpha_bar: 1 - alpha_bar_0 = 1e-4 keeps three digits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_leading_timesteps_are_spread_over_all_of_a_cosine_schedule(name: str) -> None:
    schedule = cosine(400)
    assert make_baseline(name, schedule, 8).timesteps == make_chain(schedule, sampler=name, steps=8).timesteps


@pytest.mark.parametrize("steps", [5, 8, 20, 250])
def test_ddim_and_ddpm_are_our_own_where_the_spacing_agrees(steps: int, toy: Denoiser) -> None:
    """floor(i T/S), ours, is i floor(T/S), theirs, where S divides T."""
    for name in ("ddim", "ddpm"):
        baseline = make_baseline(name, toy.schedule, steps)
        chain = make_chain(toy.schedule, sampler=name, steps=steps)
        assert baseline.timesteps == chain.timesteps
        assert baseline.draws == chain.draws
        noise = torch.randn(chain.draws, 2, *SHAPE, dtype=torch.float64)
        ours = chain.sample(toy, noise).detach()
        # their alpha_bar is a product of 1000 factors in float32
        torch.testing.assert_close(baseline.sample(toy, noise), ours, rtol=0, atol=1e-4 * float(ours.abs().max()))
