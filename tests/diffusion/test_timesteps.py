"""A budget of S is exactly S evaluations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmd_ddm.diffusion.timesteps import FROM_ZERO, NOISIEST, WHOLE, default_schedule, timesteps
from mmd_ddm.errors import UserError


def levels(length: int) -> list[float]:
    """The linear schedule of Ho et al. 2020, or one as long as is asked for."""
    ratios = 1 - np.linspace(0.1 / length, 20 / length, length).clip(0, 0.9)
    return list(np.cumprod(ratios))


def cosine(length: int) -> list[float]:
    return [math.cos((t / length + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(length)]


@pytest.mark.parametrize("schedule", [schedule for schedule in WHOLE if schedule != "stride"])
@pytest.mark.parametrize("process", [levels(1), levels(7), levels(200), cosine(200)])
def test_every_budget_is_exact(schedule: str, process: list[float]) -> None:
    length = len(process)
    for steps in range(2 if schedule in FROM_ZERO and length > 1 else 1, length + 1):
        chosen = timesteps(schedule, steps, process)
        assert len(chosen) == steps
        assert list(chosen) == sorted(set(chosen))
        assert chosen[0] >= 0
        assert chosen[-1] < length


LINEAR = levels(1000)


def test_published_examples() -> None:
    assert timesteps("linear", 5, LINEAR) == (0, 200, 400, 600, 800)
    assert timesteps("quadratic", 5, LINEAR) == (0, 50, 200, 450, 800)
    assert timesteps("linear", 1000, LINEAR) == tuple(range(1000))
    assert timesteps("trailing", 5, LINEAR) == (199, 399, 599, 799, 999)  # Lin et al. 2024, Table 2
    assert timesteps("trailing", 3, LINEAR) == (332, 666, 999)


def test_quadratic_is_the_published_codes_but_where_that_rounds_or_repeats() -> None:
    """Published: int of numpy.linspace(0, sqrt(0.8 T), S) ** 2."""
    published = {s: tuple((np.linspace(0, np.sqrt(800), s) ** 2).astype(int)) for s in range(2, 51)}
    different = [s for s, chosen in published.items() if timesteps("quadratic", s, LINEAR) != chosen]
    assert different == [16, 26, *range(30, 51)]
    assert all(len(set(published[s])) < s for s in range(30, 51))
    for s in (16, 26):
        apart = set(np.subtract(timesteps("quadratic", s, LINEAR), published[s]))
        assert apart == {0, 1}  # 31.99999 is cut to 31


def test_published_loop_runs_16_evaluations_for_15() -> None:
    assert timesteps("stride", 15, LINEAR) == tuple(range(0, 1000, 66))
    assert len(timesteps("stride", 15, LINEAR)) == 16
    assert len(timesteps("stride", 30, LINEAR)) == 31


@pytest.mark.parametrize("steps", [0, 1001, 2000])
def test_budget_out_of_range_names_the_range(steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps is {steps}.*1 to 1000"):
        timesteps("linear", steps, LINEAR)


def test_unknown_schedule_names_the_known() -> None:
    with pytest.raises(UserError, match=r"cosine.*linear, quadratic, stride, trailing, logsnr, karras"):
        timesteps("cosine", 5, LINEAR)


@pytest.mark.parametrize("schedule", FROM_ZERO)
def test_one_evaluation_is_not_spent_on_timestep_zero(schedule: str) -> None:
    with pytest.raises(UserError, match=r"steps 1 is 0.*nothing to denoise; choose schedule trailing or logsnr"):
        timesteps(schedule, 1, LINEAR)
    assert timesteps(schedule, 1, [0.5]) == (0,)  # of a model that was respaced to its one timestep
    assert timesteps(default_schedule(1), 1, LINEAR) == timesteps("logsnr", 1, LINEAR) == (999,)
    assert default_schedule(2) == "linear"


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 20])
def test_log_snr_is_even_from_the_noisiest_on(steps: int) -> None:
    """S of S+1 points, the last of which is timestep 0, each to the nearest timestep."""
    for process in (LINEAR, cosine(1000)):
        snr = [math.log(a / (1 - a)) for a in process]
        first = max(snr[-1], 2 * NOISIEST)
        for i, t in enumerate(timesteps("logsnr", steps, process)[::-1]):
            ideal = first + (snr[0] - first) * i / steps
            assert abs(snr[t] - ideal) == min(abs(value - ideal) for value in snr)
