"""Which S of the T original timesteps a budget of S network evaluations uses (paper, Section IV-E).

The paper writes tau_i = floor(c i) and tau_i = floor(c i^2) with c chosen to reach about T. A budget of S is exactly S
evaluations for every S from 1 to T; only `stride`, the published code's loop, may use more.
"""

from __future__ import annotations

import math

from mmd_ddm.errors import UserError

SCHEDULES = ("linear", "quadratic", "stride")


def timesteps(schedule: str, steps: int, length: int) -> tuple[int, ...]:
    """Choose the timesteps of a budget S, distinct and in increasing order, each in 0 ... T-1.

    * `linear`: tau_i = floor(i T / S), i = 0 ... S-1.
    * `quadratic`: tau_i = floor((i sqrt(0.8 T) / (S-1))^2), the DDIM authors' choice (Song et al. 2021, D.2);
      where rounding makes neighbours collide, or S is so large that 0.8 T holds too few, they move apart by the
      least that makes them distinct. The published code squares in floating point and then cuts, which is one less at
      some timesteps for S = 16, 26, 31 and so on, and leaves the colliding ones (from S = 30 on) as they are: there a
      budget has a timestep twice, and its step between equal levels does nothing.
    * both give timestep 0 for S = 1, like diffusers' `leading` spacing.
    * `stride`: range(0, T, floor(T / S)) as in the published code: 16 evaluations for a budget of 15.

    Raises:
        UserError: unknown schedule, or S outside 1 ... T.
    """
    if not 1 <= steps <= length:
        raise UserError(
            f"steps is {steps}; a budget is 1 to {length} network evaluations for this model (a "
            "respaced one has the timesteps of its own budget alone)"
        )
    if schedule == "linear":
        return tuple(i * length // steps for i in range(steps))
    if schedule == "quadratic":
        return _quadratic(steps, length)
    if schedule == "stride":
        return tuple(range(0, length, length // steps))
    raise UserError(f"schedule is {schedule!r}; it must be one of {', '.join(SCHEDULES)}")


def _quadratic(steps: int, length: int) -> tuple[int, ...]:
    top = 0.8 * length
    # i^2 * top before the division: whole results such as 200 stay whole instead of rounding to 199.999...
    ideal = [math.floor(i * i * top / max(1, steps - 1) ** 2) for i in range(steps)]
    ideal[-1] = min(ideal[-1], length - 1)
    for i in range(1, steps):
        ideal[i] = max(ideal[i], ideal[i - 1] + 1)
    for i in range(steps - 1, -1, -1):
        ideal[i] = min(ideal[i], length - steps + i)
    return tuple(ideal)
