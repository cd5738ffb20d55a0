"""Gaussian data, whose optimal denoiser is known: the law of a sampler's images, and the exact flow."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from mmd_ddm.diffusion.chain import Chain, State
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.multistep.methods import METHODS
from mmd_ddm.diffusion.names import MULTISTEP
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from tests.conftest import SHAPE
from tests.diffusion.cases import CHAINS, LEARNED, SAMPLERS, STOCHASTIC, Gaussian, cosine, make, suited

FLOWS = tuple(name for name in SAMPLERS if name not in STOCHASTIC)  # they solve the probability-flow equation
V = -0.3  # of a learned variance


def transition(name: str, exact: Gaussian, a: float, b: float) -> tuple[float, float, float]:
    """Gain and shift of the image from one level to the next, and the variance of what is added.

    Song et al. 2021, Equation 12, and Ho et al. 2020, Equation 7, with the exact epsilon = slope (x - sqrt(a) mean).
    """
    settings = CHAINS.get(name, {"sampler": name, "eta": 0.0, "variance": "fixed_small"})
    slope = math.sqrt(1 - a) / (a * exact.spread**2 + 1 - a)
    # x_0 = gain x + shift
    gain = (1 - math.sqrt(1 - a) * slope) / math.sqrt(a)
    shift = math.sqrt(1 - a) * slope * exact.mean
    large, small = 1 - a / b, (1 - a / b) * (1 - b) / (1 - a)
    if settings["sampler"] == "ddim":
        sigma2 = settings["eta"] ** 2 * small
        towards = math.sqrt(1 - b - sigma2) * slope
        return math.sqrt(b) * gain + towards, math.sqrt(b) * shift - towards * math.sqrt(a) * exact.mean, sigma2
    share = (1 + V) / 2
    variances = {"fixed_small": small, "fixed_large": large, "learned_range": large**share * small ** (1 - share)}
    clean, noisy = math.sqrt(b) * large / (1 - a), math.sqrt(a / b) * (1 - b) / (1 - a)
    return clean * gain + noisy, clean * shift, variances[settings["variance"]] if b < 1 else 0.0


@pytest.mark.parametrize("name", [*(name for name in CHAINS if name[6:] not in MULTISTEP), "ddpm", "ddim"])
def test_mean_and_variance_follow_the_formulas(name: str, noise_schedule: NoiseSchedule) -> None:
    """Every step is affine, and so is the image in each draw: its variance is the sum of the squared responses."""
    exact, schedule = Gaussian(noise_schedule, V if name == LEARNED else None), suited(name, noise_schedule)
    sampler = make(name, schedule, 10)
    mean, variance = 0.0, 1.0
    for a, b in pairwise([*(float(noise_schedule.alpha_bar[t]) for t in sampler.timesteps), 1.0]):
        gain, shift, added = transition(name, exact, a, b)
        mean, variance = gain * mean + shift, gain**2 * variance + added
    # a sample for each draw, in which that one is 1 and the others are 0, and a sample without noise
    ones = torch.eye(sampler.draws, sampler.draws + 1, dtype=torch.float64)
    images = sampler.sample(Denoiser(exact, schedule, SHAPE), ones[..., None, None, None].expand(-1, -1, *SHAPE))
    spread = (images[:-1] - images[-1]).square().sum(0)
    tolerance = 1e-10 if name in CHAINS else 1e-4  # published samplers compute their levels in float32
    torch.testing.assert_close(images[-1], torch.full_like(images[-1], mean), rtol=tolerance, atol=0)
    torch.testing.assert_close(spread, torch.full_like(spread, variance), rtol=tolerance, atol=0)


def flow_error(name: str, schedule: NoiseSchedule, evaluations: int) -> float:
    """Largest distance from the exact flow, over starting points of -2 to 2 standard deviations."""
    exact = Gaussian(schedule)
    sampler = make(name, schedule, evaluations)
    noise = torch.linspace(-2, 2, math.prod(SHAPE), dtype=torch.float64).view(1, 1, *SHAPE)
    start = float(schedule.alpha_bar[sampler.timesteps[0]])
    # those that integrate epsilon end at the least noise that the network knows
    ends_noisy = name in ("dpm-solver-1", "dpm-solver-2", "dpm-solver-2-logsnr", "unipc", "deis")
    end = float(schedule.alpha_bar[0]) if ends_noisy else 1.0
    images = sampler.sample(Denoiser(exact, schedule, SHAPE), noise)
    return float((images - exact.flow(noise[0], start, end)).abs().max())


# For each, budgets n and about 2n where the leading term of the error rules, and the order of the solver.
CONVERGENCE = {
    "chain ddim eta 0": (80, 160, 1),
    **{f"chain {name}": (41, 81, 2) for name in MULTISTEP},  # levels, see `grid_error`
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


def grid_error(name: str, levels: int) -> float:
    """Largest distance from the exact flow at the last of some levels even in the log-SNR, before the step to no noise.

    Even timesteps are not smooth at the clean end, where sigma / alpha goes like the root of t.
    """
    alpha_bar = torch.sigmoid(torch.linspace(-8, 6, levels, dtype=torch.float64))
    solver, schedule = METHODS[name].solver(alpha_bar), NoiseSchedule(alpha_bar.flip(0))
    exact = Gaussian(schedule)
    noise = torch.linspace(-2, 2, math.prod(SHAPE), dtype=torch.float64).view(1, 1, *SHAPE)
    chain, state = Chain(solver, tuple(levels - 1 - row.level for row in solver.rows)), State(noise[0])
    for k in range(len(solver.rows) - 1):
        state = chain.step(Denoiser(exact, schedule, SHAPE), state, k, noise)
    expected = exact.flow(noise[0], float(alpha_bar[0]), float(alpha_bar[-1]))
    return float((state.image - expected).abs().max())


@pytest.mark.parametrize("name", FLOWS)
def test_order_of_convergence_to_the_exact_flow(name: str, noise_schedule: NoiseSchedule) -> None:
    """Twice the steps halve the error of order 1 and quarter (or better) that of order 2; told apart at sqrt(2 * 4)."""
    few, many, order = CONVERGENCE[name]
    if (table := name.removeprefix("chain ")) in METHODS:
        ratio = grid_error(table, few) / grid_error(table, many)
    else:
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
    evaluations = 79 if "heun" in name else 80
    reference = min(flow_error(first, noise_schedule, evaluations) for first in ("ddim", "dpm-solver-1"))
    assert flow_error(name, noise_schedule, evaluations) < reference


@pytest.mark.parametrize("name", [name for name in FLOWS if CONVERGENCE[name][2] > 1])
def test_cosine_schedules_reach_the_exact_flow(name: str) -> None:
    assert flow_error(name, cosine(400), 149) < 1 / 255
