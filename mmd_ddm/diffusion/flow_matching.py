"""The process of flow matching, x_t = (1 - t) x_0 + t epsilon with t from 0 to 1 (Lipman et al. 2023, Liu et al. 2023).

Divided by sqrt((1 - t)^2 + t^2), its images are those of another process, sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar)
epsilon, at the level sqrt((1 - alpha_bar) / alpha_bar) = t / (1 - t). So all samplers take it, and DDIM there is
Euler's method for dx / dt = epsilon - x_0 here: both are exact where the predicted x_0 and epsilon stay what they are.

At t = 1 nothing is left of an image: alpha_bar is 0 and the log-SNR, in which solvers go, minus infinity. The process
here ends halfway between the last time before it and 1, at t = 0.9995 for T = 1000, where the image is a two-thousandth
of the noise. DPM-Solver and UniPC in diffusers stop before 1 for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from mmd_ddm.diffusion.betas import LONGEST
from mmd_ddm.errors import UserError

# what moves the noise levels in ways that depend on the image's size or on the number of evaluations
_REFUSED = ("use_dynamic_shifting", "invert_sigmas", "shift_terminal")


def flow_alpha_bar(config: Mapping[str, object]) -> Tensor:
    """Compute alpha_bar of the levels t_i = s u / (1 + (s - 1) u), u = (i + 1) / T, where s is the config's `shift`.

    Args:
        config: the content of a `scheduler_config.json`, with `num_train_timesteps` T and `shift`.

    Returns:
        (T,) float64, decreasing in (0, 1); the network is told t T of each.

    Raises:
        UserError: an entry is missing, not of its type or out of range, or asks for what is not supported.
    """
    if missing := [key for key in ("num_train_timesteps", "shift") if config.get(key) is None]:
        raise _wrong(f"nothing about {' and '.join(missing)}; add it to scheduler/scheduler_config.json")
    length, shift = config["num_train_timesteps"], config["shift"]
    if isinstance(length, bool) or not isinstance(length, int) or not 2 <= length <= LONGEST:
        raise _wrong(f"num_train_timesteps {length!r}; it must be a whole number from 2 to {LONGEST}")
    if isinstance(shift, bool) or not isinstance(shift, (int, float)) or not 0 < shift < math.inf:
        raise _wrong(f"shift {shift!r}; it must be a positive number")
    if asked := [key for key in _REFUSED if config.get(key)]:
        raise _wrong(f"{asked[0]}, which is not supported; supported are noise levels with a fixed shift")
    even = torch.arange(1, length + 1, dtype=torch.float64) / length
    t = shift * even / (1 + (shift - 1) * even)
    t[-1] = (t[-2] + 1) / 2
    return (1 - t) ** 2 / ((1 - t) ** 2 + t**2)


def _wrong(what: str) -> UserError:
    return UserError(f"the model's scheduler config, of flow matching, has {what}")
