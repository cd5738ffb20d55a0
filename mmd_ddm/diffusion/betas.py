"""The noise that each step of the forward process adds, from a diffusers scheduler config, in float64.

diffusers computes it in float32. There 1 - alpha_bar of a cosine schedule of 4000 timesteps, which begins at 4e-7, is
off by 0.3 % at the first of them, and with it the last step of a chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from mmd_ddm.errors import UserError

LONGEST = 100_000  # T; published processes have 1000 or 4000
_LARGEST = 0.999  # a beta of the schedules that are given by alpha_bar (Nichol & Dhariwal 2021, Section 3.2)


def betas(config: Mapping[str, object]) -> Tensor:
    """Compute beta_0 ... beta_{T-1} as diffusers' `DDPMScheduler` defines them.

    Args:
        config: the content of a `scheduler_config.json`, with `num_train_timesteps` and either `trained_betas`, or
            `beta_schedule` (linear, scaled_linear, squaredcos_cap_v2, laplace or sigmoid), `beta_start` and
            `beta_end`.

    Returns:
        (T,) float64, each in (0, 1), with a product of all 1 - beta above 0.

    Raises:
        UserError: an entry is not of its type or out of range.
    """
    length = config["num_train_timesteps"]
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= LONGEST:
        raise _wrong(f"num_train_timesteps {length!r}; it must be a whole number from 1 to {LONGEST}")
    trained = config.get("trained_betas")
    found = _scheduled(config, length) if trained is None else _trained(trained, length)
    outside = ~((found > 0) & (found < 1))  # NaN too
    if bool(outside.any()):
        first = int(outside.int().argmax())
        raise _wrong(f"a beta of {found[first].item():g} at timestep {first}; betas are above 0 and below 1")
    if not float(torch.cumprod(1 - found, 0)[-1]) > 0:
        raise _wrong("betas so large that nothing is left of an image before its end; make them smaller")
    return found


def _wrong(what: str) -> UserError:
    return UserError(f"the model's scheduler config has {what}")


def _trained(values: object, length: int) -> Tensor:
    if not isinstance(values, (list, tuple)) or not all(_is_number(value) for value in values):
        raise _wrong("trained_betas that are no list of numbers")
    if len(values) != length:
        raise _wrong(f"num_train_timesteps {length} but {len(values)} trained_betas; they must be as many")
    return torch.tensor([float(value) for value in values], dtype=torch.float64)


def _is_number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53)


def _scheduled(config: Mapping[str, object], length: int) -> Tensor:
    name = str(config["beta_schedule"])
    if name in _CURVES:
        curve = _CURVES[name]
        levels = [curve(i / length) for i in range(length + 1)]
        found = [min(1 - after / now, _LARGEST) for now, after in pairwise(levels)]
        return torch.tensor(found, dtype=torch.float64)
    if name not in _RANGES:
        known = ", ".join((*_RANGES, *_CURVES))
        raise _wrong(f"beta_schedule {config['beta_schedule']!r}, which is not supported; supported are {known}")
    ends = []
    for key in ("beta_start", "beta_end"):
        value = config[key]
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < 1:
            raise _wrong(f"{key} {value!r}; it must be a number above 0 and below 1")
        ends.append(float(value))
    return _RANGES[name](ends[0], ends[1], length)


def _linear(start: float, end: float, length: int) -> Tensor:
    return torch.linspace(start, end, length, dtype=torch.float64)


def _sigmoid(start: float, end: float, length: int) -> Tensor:
    return torch.sigmoid(_linear(-6, 6, length)) * (end - start) + start


def _laplace(t: float) -> float:
    log_snr = -0.5 * math.copysign(1, 0.5 - t) * math.log(1 - 2 * math.fabs(0.5 - t) + 1e-6)
    snr = math.exp(log_snr)
    return math.sqrt(snr / (1 + snr))


# by the name of diffusers' `beta_schedule`
_RANGES: Mapping[str, Callable[[float, float, int], Tensor]] = {
    "linear": _linear,  # Ho et al. 2020
    "scaled_linear": lambda start, end, length: _linear(start**0.5, end**0.5, length) ** 2,  # Rombach et al. 2022
    "sigmoid": _sigmoid,  # Xu et al. 2022 (GeoDiff)
}
_CURVES: Mapping[str, Callable[[float], float]] = {
    # Nichol & Dhariwal 2021, Equation 17
    "squaredcos_cap_v2": lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2,
    "laplace": _laplace,  # Hang & Gu 2024
}
