"""The noise levels of flow matching, as diffusers has them, among those of the other processes."""

from __future__ import annotations

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from mmd_ddm.diffusion.flow_matching import flow_alpha_bar
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.errors import UserError

CONFIG = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 1.0}


@pytest.mark.parametrize("shift", [1.0, 3.0, 0.5])
@pytest.mark.parametrize("length", [1000, 2, 37])
def test_levels_are_those_of_diffusers_but_the_last(shift: float, length: int) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=length, shift=shift)
    schedule = NoiseSchedule.from_scheduler_config({**CONFIG, "num_train_timesteps": length, "shift": shift})
    assert (schedule.length, schedule.prediction_type, schedule.variance_type) == (length, "v_prediction", None)
    t = schedule.sigmas / (1 + schedule.sigmas)
    expected = theirs.sigmas.flip(0).double()  # float32
    torch.testing.assert_close(t[:-1], expected[:-1], rtol=0, atol=1e-6)
    assert expected[-1] == 1
    assert float(t[-1]) == pytest.approx((1 + float(t[-2])) / 2, abs=1e-12)
    assert (schedule.alpha_bar.diff() < 0).all()
    assert float(schedule.alpha_bar[-1]) > 0


def test_published_levels() -> None:
    """(1 - t)^2 / ((1 - t)^2 + t^2): 1/2 at t = 1/2, 1/17 at 4/5, and at the end 0.9995."""
    alpha_bar = flow_alpha_bar(CONFIG)
    assert float(alpha_bar[499]) == pytest.approx(1 / 2)
    assert float(alpha_bar[799]) == pytest.approx(1 / 17)
    assert float(alpha_bar[999]) == pytest.approx(0.0005**2 / (0.0005**2 + 0.9995**2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dynamic_shifting": True}, "has use_dynamic_shifting, which is not supported; supported are noise"),
        ({"shift_terminal": 0.02}, "has shift_terminal, which is not supported"),
        ({"invert_sigmas": True}, "has invert_sigmas, which is not supported"),
        ({"shift": None}, "nothing about shift; add it to scheduler/scheduler_config.json"),
        ({"num_train_timesteps": None, "shift": None}, "nothing about num_train_timesteps and shift"),
        ({"shift": 0}, "shift 0; it must be a positive number"),
        ({"shift": "3"}, "shift '3'; it must be a positive number"),
        ({"shift": float("nan")}, "shift nan; it must be a positive number"),
        ({"num_train_timesteps": 1}, "num_train_timesteps 1; it must be a whole number from 2 to 100000"),
        ({"num_train_timesteps": 10.0}, "num_train_timesteps 10.0; it must be a whole number"),
    ],
)
def test_what_is_not_supported_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        NoiseSchedule.from_scheduler_config({**CONFIG, **change})
