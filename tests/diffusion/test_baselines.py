"""Published samplers: against diffusers' own loop, the exact flow of Gaussian data, and a counting network."""

from __future__ import annotations

import math
import re
import warnings
from itertools import pairwise
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.baselines import BASELINES, Baseline, make_baseline
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.published_samplers import log_snr
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, Output, ToyNetwork
from tests.diffusion.test_chain import NoiseReplay

BUDGETS = (*range(1, 26), 50)
FLOWS = tuple(name for name in BASELINES if name != "ddpm")  # those that solve the probability-flow equation


def feasible(name: str, schedule: NoiseSchedule, evaluations: int) -> Baseline | None:
    try:
        return make_baseline(name, schedule, evaluations)
    except UserError:
        return None


@pytest.mark.parametrize("name", BASELINES)
def test_every_budget_is_met_at_the_network_or_refused_with_the_nearest(
    name: str, noise_schedule: NoiseSchedule
) -> None:
    network = ToyNetwork().eval()
    seen: list[int] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(int(inputs[1][0])))
    denoiser = Denoiser(network, noise_schedule, SHAPE)
    possible = [b for b in range(1, 53) if feasible(name, noise_schedule, b)]
    for budget in BUDGETS:
        if budget in possible:
            baseline = make_baseline(name, noise_schedule, budget)
            seen.clear()
            images = baseline.sample(denoiser, torch.randn(baseline.draws, 2, *SHAPE))
            assert len(seen) == budget == baseline.evaluations == len(baseline.timesteps)
            assert tuple(seen) == baseline.timesteps
            assert images.shape == (2, *SHAPE)
            assert torch.isfinite(images).all()
        else:
            with pytest.raises(UserError) as caught:
                make_baseline(name, noise_schedule, budget)
            asked, _, proposed = str(caught.value).rpartition("choose")
            near = [max((b for b in possible if b < budget), default=None), min(b for b in possible if b > budget)]
            assert re.search(rf"\b{budget}\b", asked)
            assert [int(number) for number in re.findall(r"\d+", proposed)] == [b for b in near if b is not None]


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


# Each scheduler as its documentation has it; the arguments that the process fixes are added below.
DOCUMENTED: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_small"}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "pndm": ("PNDMScheduler", {"set_alpha_to_one": True}),
    "plms": ("PNDMScheduler", {"set_alpha_to_one": True, "skip_prk_steps": True}),
    "dpm-solver-1": (
        "DPMSolverMultistepScheduler",  # another class of theirs for the same formula
        {"algorithm_type": "dpmsolver", "solver_order": 1, "final_sigmas_type": "sigma_min"},
    ),
    "dpm-solver-2": (
        "DPMSolverSinglestepScheduler",
        {"algorithm_type": "dpmsolver", "solver_order": 2, "final_sigmas_type": "sigma_min"},
    ),
    "dpm-solver++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "unipc": (
        "UniPCMultistepScheduler",
        {"solver_order": 3, "solver_type": "bh2", "final_sigmas_type": "sigma_min"},
    ),
    "deis": ("DEISMultistepScheduler", {"solver_order": 3}),
    "heun": ("HeunDiscreteScheduler", {"timestep_spacing": "trailing"}),
}


def documented(name: str, schedule: NoiseSchedule, steps: int, timesteps: list[int] | None = None) -> Any:
    kind, settings = DOCUMENTED[name]
    alpha_bar = [1.0, *schedule.alpha_bar.tolist()]
    betas = [1 - after / before for before, after in pairwise(alpha_bar)]
    if name == "unipc" and steps < 10:
        settings = {**settings, "solver_type": "bh1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a deprecated algorithm type, and NumPy's of torch
        scheduler = getattr(diffusers, kind)(
            **settings, trained_betas=betas, num_train_timesteps=len(betas), prediction_type=schedule.prediction_type
        )
        if timesteps is None:
            scheduler.set_timesteps(steps)
        else:
            scheduler.set_timesteps(timesteps=timesteps)
    return scheduler


def rollout(network: nn.Module, scheduler: Any, noise: Tensor) -> Tensor:
    """The loop of diffusers' pipelines."""
    image = noise[0] * scheduler.init_noise_sigma
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's of torch
        for t in scheduler.timesteps:
            output = network(scheduler.scale_model_input(image, t), t.expand(len(image))).sample
            image = scheduler.step(output, t, image).prev_sample
    return image


@pytest.mark.parametrize("name", DOCUMENTED)
def test_equals_the_loop_of_diffusers(
    name: str, noise_schedule: NoiseSchedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ToyNetwork().eval()
    budgets = {"heun": (1, 5, 7, 21), "pndm": (13, 14, 20, 21)}.get(name, (5, 7, 20, 21))
    for evaluations in budgets:
        steps = {"heun": (evaluations + 1) // 2, "pndm": evaluations - 9, "plms": evaluations - 1}
        scheduler = documented(name, noise_schedule, steps.get(name, evaluations))
        baseline = make_baseline(name, noise_schedule, evaluations)
        assert tuple(scheduler.timesteps.int().tolist()) == baseline.timesteps
        noise = torch.randn(baseline.draws, 3, *SHAPE)
        ours = baseline.sample(Denoiser(network, noise_schedule, SHAPE), noise)
        NoiseReplay(monkeypatch, "scheduling_ddpm", noise)
        theirs = rollout(network, scheduler, noise)
        # the same operations; but dpm-solver-1 and ddpm (by their DDIM with eta = 1) in others of the same value
        tolerance = 1e-5 if name in ("ddpm", "dpm-solver-1") else 1e-6
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["dpm-solver-2", "dpm-solver++"])
def test_log_snr_variants_differ_in_their_timesteps_alone(name: str, noise_schedule: NoiseSchedule) -> None:
    network = ToyNetwork().eval()
    noise = torch.randn(1, 3, *SHAPE)
    chosen = log_snr(noise_schedule.alpha_bar, 8)
    ours = make_baseline(f"{name}-logsnr", noise_schedule, 8)
    assert ours.timesteps == tuple(chosen)
    theirs = rollout(network, documented(name, noise_schedule, 8, chosen), noise)
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


class Gaussian(nn.Module):
    """The exact epsilon of data N(mean, spread^2): sqrt(1-a) (x - sqrt(a) mean) / (a spread^2 + 1 - a)."""

    mean, spread = 0.4, 0.3

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.alpha_bar = schedule.alpha_bar

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        a = self.alpha_bar[timestep][:, None, None, None]
        return Output((1 - a).sqrt() * (image - a.sqrt() * self.mean) / (a * self.spread**2 + 1 - a))

    def flow(self, image: Tensor, start: float, end: float) -> Tensor:
        """Along the probability flow x_t keeps its number of standard deviations from the mean of q(x_t)."""
        deviations = [math.sqrt(a * self.spread**2 + 1 - a) for a in (start, end)]
        return math.sqrt(end) * self.mean + (image - math.sqrt(start) * self.mean) / deviations[0] * deviations[1]


def flow_error(name: str, schedule: NoiseSchedule, evaluations: int) -> float:
    """Largest distance from the exact flow, over starting points of -2 to 2 standard deviations."""
    exact = Gaussian(schedule)
    baseline = make_baseline(name, schedule, evaluations)
    noise = torch.linspace(-2, 2, math.prod(SHAPE), dtype=torch.float64).view(1, 1, *SHAPE)
    start = float(schedule.alpha_bar[baseline.timesteps[0]])
    # those that integrate epsilon end at the least noise that the network knows
    ends_noisy = name in ("dpm-solver-1", "dpm-solver-2", "dpm-solver-2-logsnr", "unipc", "deis")
    end = float(schedule.alpha_bar[0]) if ends_noisy else 1.0
    images = baseline.sample(Denoiser(exact, schedule, SHAPE), noise)
    return float((images - exact.flow(noise[0], start, end)).abs().max())


# For each, budgets n and about 2n where the leading term of the error rules, and the order of the solver.
CONVERGENCE = {
    "ddim": (80, 160, 1),
    "dpm-solver-1": (80, 160, 1),
    "pndm": (20, 40, 2),
    "plms": (10, 20, 2),
    "dpm-solver-2": (80, 160, 2),
    "dpm-solver-2-logsnr": (40, 80, 2),
    "dpm-solver++": (20, 40, 2),
    "dpm-solver++-logsnr": (20, 40, 2),
    "unipc": (40, 80, 2),
    "deis": (40, 80, 2),
    "heun": (39, 79, 2),
}


@pytest.mark.parametrize("name", FLOWS)
def test_order_of_convergence_to_the_exact_flow(name: str, noise_schedule: NoiseSchedule) -> None:
    """Twice the steps halve the error of order 1 and quarter (or better) that of order 2; told apart at sqrt(2 * 4)."""
    few, many, order = CONVERGENCE[name]
    ratio = flow_error(name, noise_schedule, few) / flow_error(name, noise_schedule, many)
    assert (math.sqrt(2) if order == 1 else math.sqrt(8)) < ratio
    if order == 1:
        assert ratio < math.sqrt(8)


@pytest.mark.parametrize("name", FLOWS)
def test_fine_grids_reach_the_exact_flow(name: str, noise_schedule: NoiseSchedule) -> None:
    """To half a grey level of 255 in [-1, 1], for images of up to two standard deviations."""
    # first order needs them all; third-order coefficients of deis, in float32, cancel on finer grids than this
    evaluations = {1: 999, 2: 499}[CONVERGENCE[name][2]] if name != "deis" else 159
    assert flow_error(name, noise_schedule, evaluations) < 1 / 255


@pytest.mark.parametrize("name", [name for name in FLOWS if CONVERGENCE[name][2] > 1])
def test_higher_order_is_closer_at_equal_evaluations(name: str, noise_schedule: NoiseSchedule) -> None:
    evaluations = 79 if name == "heun" else 80
    reference = min(flow_error(first, noise_schedule, evaluations) for first in ("ddim", "dpm-solver-1"))
    assert flow_error(name, noise_schedule, evaluations) < reference


def test_ddpm_has_the_spread_of_gaussian_data(noise_schedule: NoiseSchedule) -> None:
    """With the exact epsilon each step's variance is by a recursion by hand; 50 of its steps."""
    exact = Gaussian(noise_schedule)
    baseline = make_baseline("ddpm", noise_schedule, 50)
    levels = [float(noise_schedule.alpha_bar[t]) for t in baseline.timesteps] + [1.0]
    mean, variance = 0.0, 1.0
    for a, b in pairwise(levels):
        slope = math.sqrt(1 - a) / (a * exact.spread**2 + 1 - a)  # epsilon = slope (x - sqrt(a) mean)
        clean, noisy = math.sqrt(b) * (1 - a / b) / (1 - a), math.sqrt(a / b) * (1 - b) / (1 - a)
        gain = clean * (1 - math.sqrt(1 - a) * slope) / math.sqrt(a) + noisy
        shift = clean * math.sqrt(1 - a) * slope * exact.mean
        mean, variance = gain * mean + shift, gain**2 * variance + (1 - a / b) * (1 - b) / (1 - a)
    count = 5000
    noise = torch.randn(baseline.draws, count, *SHAPE, dtype=torch.float64)
    images = baseline.sample(Denoiser(exact, noise_schedule, SHAPE), noise)
    # standard errors of mean and relative variance of n normals: sqrt(v/n), sqrt(2/n); five of them
    assert abs(float(images.mean()) - mean) < 5 * math.sqrt(variance / images.numel())
    assert abs(float(images.var()) / variance - 1) < 5 * math.sqrt(2 / images.numel())


@pytest.fixture
def cosine() -> NoiseSchedule:
    """Nichol & Dhariwal 2021; its last alpha_bar is 2e-9."""
    return NoiseSchedule.from_scheduler_config(
        diffusers.DDPMScheduler(num_train_timesteps=400, beta_schedule="squaredcos_cap_v2").config
    )


def test_cosine_schedules_are_clipped_as_diffusers_clips_them(cosine: NoiseSchedule) -> None:
    network = ToyNetwork().eval()
    baseline = make_baseline("dpm-solver++", cosine, 8)
    settings = {"num_train_timesteps": 400, "beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
    scheduler = diffusers.DPMSolverMultistepScheduler(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.set_timesteps(8)
    assert baseline.timesteps == tuple(scheduler.timesteps.tolist())
    assert baseline.timesteps[0] < 399
    noise = torch.randn(1, 2, *SHAPE)
    theirs = rollout(network, scheduler, noise)
    ours = baseline.sample(Denoiser(network, cosine, SHAPE), noise)
    # betas read off float32 alpha_bar: 1 - alpha_bar_0 = 1e-4 keeps three digits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", ["ddpm", "ddim"])
def test_leading_timesteps_are_spread_over_all_of_a_cosine_schedule(name: str, cosine: NoiseSchedule) -> None:
    assert make_baseline(name, cosine, 8).timesteps == make_chain(cosine, sampler=name, steps=8).timesteps


@pytest.mark.parametrize("name", [name for name in FLOWS if CONVERGENCE[name][2] > 1])
def test_cosine_schedules_reach_the_exact_flow(name: str, cosine: NoiseSchedule) -> None:
    assert flow_error(name, cosine, 149) < 1 / 255


class Reparametrised(nn.Module):
    """A network that says the same as another in other terms, with a second half that is none of the sampler's."""

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, prediction: str) -> None:
        super().__init__()
        self.network, self.schedule, self.prediction = network, schedule, prediction

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        a = self.schedule.alpha_bar[timestep][:, None, None, None]
        epsilon = self.network(image, timestep).sample
        clean = (image - (1 - a).sqrt() * epsilon) / a.sqrt()
        if self.prediction == "learned":
            return Output(torch.cat([epsilon, clean], dim=1))
        return Output({"sample": clean, "v_prediction": a.sqrt() * epsilon - (1 - a).sqrt() * clean}[self.prediction])


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("prediction", ["sample", "v_prediction", "learned"])
def test_networks_of_other_predictions_sample_alike(name: str, prediction: str, noise_schedule: NoiseSchedule) -> None:
    kind, variance = ("epsilon", "learned_range") if prediction == "learned" else (prediction, "fixed_small")
    schedule = NoiseSchedule(noise_schedule.alpha_bar, kind, variance)  # type: ignore[arg-type]
    network = ToyNetwork().double().eval()
    other = Denoiser(Reparametrised(network, schedule, prediction), schedule, SHAPE)
    baseline = make_baseline(name, schedule, 15)
    noise = torch.randn(baseline.draws, 2, *SHAPE, dtype=torch.float64)
    images = make_baseline(name, noise_schedule, 15).sample(Denoiser(network, noise_schedule, SHAPE), noise)
    # schedulers round to float32, and the first step divides by sqrt(alpha_bar) > 0.006
    torch.testing.assert_close(baseline.sample(other, noise), images, rtol=0, atol=2e-5 * float(images.abs().max()))


@pytest.mark.parametrize("steps", [1, 5, 8, 20, 250])
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


@pytest.mark.parametrize("name", BASELINES)
def test_images_depend_on_the_noise_alone(name: str, toy: Denoiser) -> None:
    """No state is left from one call to the next, no other random number is drawn, and samples do not mix."""
    baseline = make_baseline(name, toy.schedule, 15)
    noise = torch.randn(baseline.draws, 3, *SHAPE, dtype=torch.float64)
    before = torch.get_rng_state()
    images = baseline.sample(toy, noise)
    assert torch.equal(before, torch.get_rng_state())
    assert not images.requires_grad
    assert torch.equal(images, baseline.sample(toy, noise))
    one = baseline.sample(toy, noise[:, 1:2])
    torch.testing.assert_close(one, images[1:2], rtol=0, atol=1e-6 * float(images.abs().max()))
    for k in range(baseline.draws):
        changed = noise.clone()
        changed[k] += 1
        assert not torch.allclose(baseline.sample(toy, changed), images), k
