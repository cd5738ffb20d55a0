"""The noise levels of a scheduler config: diffusers' to the rounding of its float32, and exact where that is coarse."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from mmd_ddm.diffusion.betas import betas
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError

CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02,
    "prediction_type": "epsilon",
}  # fmt: skip


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "trained"])
def test_equal_to_diffusers(name: str) -> None:
    config = {**CONFIG, "beta_schedule": name}
    if name == "trained":
        config |= {"trained_betas": [0.1, 0.2, 0.05], "num_train_timesteps": 3, "beta_schedule": "linear"}
    theirs = DDPMScheduler(**config).betas.double()
    # float32 rounds a beta to 6e-8 of it, and those of curves, 1 minus a quotient near 1, in the end to 6e-8
    torch.testing.assert_close(betas(config), theirs, rtol=2e-7, atol=2e-8)


def test_cosine_schedule_of_4000_timesteps_is_exact_at_the_first() -> None:
    """1 - alpha_bar_t = 1 - cos^2(b) / cos^2(a) = sin(b - a) sin(b + a) / cos^2(a), without cancellation."""
    config = {**CONFIG, "beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 4000}
    alpha_bar = NoiseSchedule.from_scheduler_config(config).alpha_bar
    first = 0.008 / 1.008 * math.pi / 2
    for t in (0, 1, 10, 100):
        angle = ((t + 1) / 4000 + 0.008) / 1.008 * math.pi / 2
        noise = math.sin(angle - first) * math.sin(angle + first) / math.cos(first) ** 2
        # of each of the t + 1 factors, near 1, three roundings of 1.1e-16 are left
        assert 1 - float(alpha_bar[t]) == pytest.approx(noise, rel=3 * (t + 1) * 1.2e-16 / noise)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"trained_betas": [0.1, float("nan"), 0.1], "num_train_timesteps": 3}, "a beta of nan at timestep 1"),
        ({"trained_betas": [0.1, 0.1, -0.1], "num_train_timesteps": 3}, "a beta of -0.1 at timestep 2"),
        ({"trained_betas": [0.0, 0.1, 0.1], "num_train_timesteps": 3}, "a beta of 0 at timestep 0"),
        ({"trained_betas": [0.1, 1.0, 0.1], "num_train_timesteps": 3}, "a beta of 1 at timestep 1"),
        ({"trained_betas": [0.1, 7, 0.1], "num_train_timesteps": 3}, "a beta of 7 at timestep 1"),
        ({"trained_betas": [0.9] * 1000}, "nothing is left of an image"),
        ({"trained_betas": [0.1, "x", 0.1], "num_train_timesteps": 3}, "trained_betas that are no list of numbers"),
        ({"trained_betas": 0.1}, "trained_betas that are no list of numbers"),
        ({"trained_betas": [0.1] * 5}, "1000 but 5 trained_betas"),
        ({"beta_start": -1e-4}, "beta_start -0.0001; it must be a number above 0"),
        ({"beta_start": float("nan")}, "beta_start nan"),
        ({"beta_end": 1.0}, "beta_end 1.0; it must be .* below 1"),
        ({"beta_end": "0.02"}, "beta_end '0.02'"),
        ({"beta_schedule": "cubic"}, "beta_schedule 'cubic', which is not supported; supported are linear"),
        ({"beta_schedule": ["linear"]}, "which is not supported"),
        ({"num_train_timesteps": 0}, "num_train_timesteps 0; it must be a whole number from 1"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps '1000'"),
        ({"num_train_timesteps": True}, "num_train_timesteps True"),
        ({"num_train_timesteps": 10**12}, "num_train_timesteps 1000000000000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_process_is_refused(entries: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NoiseSchedule.from_scheduler_config({**CONFIG, **entries})
