"""A budget of S is exactly S evaluations."""

from __future__ import annotations

import numpy as np
import pytest

from mmd_ddm.diffusion.timesteps import timesteps
from mmd_ddm.errors import UserError


@pytest.mark.parametrize("schedule", ["linear", "quadratic"])
@pytest.mark.parametrize("length", [1, 7, 1000])
def test_every_budget_is_exact(schedule: str, length: int) -> None:
    for steps in range(1, length + 1):
        chosen = timesteps(schedule, steps, length)
        assert len(chosen) == steps
        assert list(chosen) == sorted(set(chosen))
        assert chosen[0] >= 0
        assert chosen[-1] < length


def test_published_examples() -> None:
    assert timesteps("linear", 5, 1000) == (0, 200, 400, 600, 800)
    assert timesteps("quadratic", 5, 1000) == (0, 50, 200, 450, 800)
    assert timesteps("linear", 1000, 1000) == tuple(range(1000))


def test_quadratic_is_the_published_codes_but_where_that_rounds_or_repeats() -> None:
    """Published: int of numpy.linspace(0, sqrt(0.8 T), S) ** 2."""
    published = {s: tuple((np.linspace(0, np.sqrt(800), s) ** 2).astype(int)) for s in range(2, 51)}
    different = [s for s, chosen in published.items() if timesteps("quadratic", s, 1000) != chosen]
    assert different == [16, 26, *range(30, 51)]
    assert all(len(set(published[s])) < s for s in range(30, 51))
    for s in (16, 26):
        apart = set(np.subtract(timesteps("quadratic", s, 1000), published[s]))
        assert apart == {0, 1}  # 31.99999 is cut to 31


def test_published_loop_runs_16_evaluations_for_15() -> None:
    assert timesteps("stride", 15, 1000) == tuple(range(0, 1000, 66))
    assert len(timesteps("stride", 15, 1000)) == 16
    assert len(timesteps("stride", 30, 1000)) == 31


@pytest.mark.parametrize("steps", [0, 1001, 2000])
def test_budget_out_of_range_names_the_range(steps: int) -> None:
    with pytest.raises(UserError, match=rf"steps is {steps}.*1 to 1000"):
        timesteps("linear", steps, 1000)


def test_unknown_schedule_names_the_known() -> None:
    with pytest.raises(UserError, match=r"cosine.*linear, quadratic, stride"):
        timesteps("cosine", 5, 1000)
