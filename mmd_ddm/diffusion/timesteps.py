"""Which S of the T original timesteps a budget of S network evaluations uses (paper, Section IV-E).

The paper writes tau_i = floor(c i) and tau_i = floor(c i^2) with c chosen to reach about T. A budget of S is exactly S
evaluations for every S from 1 to T; only `stride`, the published code's loop, may use more.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from mmd_ddm.errors import UserError

WHOLE = ("linear", "quadratic", "stride", "trailing", "logsnr")
KARRAS = "karras"  # its levels lie between the timesteps, see `karras`
SCHEDULES = (*WHOLE, KARRAS)
FROM_ZERO = ("linear", "quadratic", "stride")  # those that begin at timestep 0
# lambda = log(alpha_bar / (1 - alpha_bar)) / 2 of the noisiest timestep at which a solver begins that would begin at
# T-1: an error of epsilon comes back in x_0 exp(-lambda) times as large. Cosine schedules go on to -10, linear ones end
# above. The DPM-Solver authors' code clips here, and so does diffusers where `lambda_min_clipped` says so.
NOISIEST = -5.1


def default_schedule(steps: int) -> str:
    """The schedule where none is named: linear, but trailing for one evaluation, which linear would make at 0."""
    return "linear" if steps > 1 else "trailing"


def check_budget(schedule: str, steps: int, length: int) -> None:
    """Refuse an unknown schedule, a budget outside 1 ... T, and one that would be spent on timestep 0."""
    if schedule not in SCHEDULES:
        raise UserError(f"schedule is {schedule!r}; it must be one of {', '.join(SCHEDULES)}")
    if not 1 <= steps <= length:
        raise UserError(
            f"steps is {steps}; a budget is 1 to {length} network evaluations for this model (a "
            "respaced one has the timesteps of its own budget alone)"
        )
    if steps == 1 < length and schedule in FROM_ZERO:
        raise UserError(
            f"schedule is {schedule!r}, whose one timestep for steps 1 is 0, where there is nothing to denoise; "
            "choose schedule trailing or logsnr"
        )


def timesteps(schedule: str, steps: int, alpha_bar: Sequence[float]) -> tuple[int, ...]:
    """Choose the timesteps of a budget S, distinct and in increasing order, each in 0 ... T-1.

    * `linear`: tau_i = floor(i T / S), i = 0 ... S-1.
    * `quadratic`: tau_i = floor((i sqrt(0.8 T) / (S-1))^2), the DDIM authors' choice (Song et al. 2021, D.2);
      where rounding makes neighbours collide, or S is so large that 0.8 T holds too few, they move apart by the
      least that makes them distinct. The published code squares in floating point and then cuts, which is one less at
      some timesteps for S = 16, 26, 31 and so on, and leaves the colliding ones (from S = 30 on) as they are: there a
      budget has a timestep twice, and its step between equal levels does nothing.
    * `stride`: range(0, T, floor(T / S)) as in the published code: 16 evaluations for a budget of 15.
    * `trailing`: from T-1 down in even steps, see `trailing`.
    * `logsnr`: even in the log-SNR, see `even_in_log_snr`. It begins at T-1, or where that is noisier than `NOISIEST`,
      there; its S+1-th point is timestep 0, which is not evaluated: the last step goes on to no noise instead, since
      a chain's images are what is left then, and an evaluation at 0 has next to nothing to tell them.

    Args:
        schedule: one of `WHOLE`; those of `FROM_ZERO` need S of at least 2, or T = 1.
        steps: S, 1 to T.
        alpha_bar: T values, decreasing in (0, 1).

    Raises:
        UserError: unknown schedule, S outside 1 ... T, or a budget that would be spent on timestep 0.
    """
    length = len(alpha_bar)
    check_budget(schedule, steps, length)
    assert schedule in WHOLE
    if schedule == "linear":
        return tuple(i * length // steps for i in range(steps))
    if schedule == "quadratic":
        return _quadratic(steps, length)
    if schedule == "stride":
        return tuple(range(0, length, length // steps))
    if schedule == "trailing":
        return tuple(trailing(steps, length)[::-1])
    log_snr = [math.log(value / (1 - value)) for value in alpha_bar]
    return tuple(even_in_log_snr(steps, log_snr)[::-1])


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


def trailing(steps: int, length: int) -> list[int]:
    """Round(T - i T/S) - 1, i = 0 ... S-1: from T-1 on in even steps (Lin et al. 2024, Table 2).

    Worked out here, since diffusers' own, a range of floating-point numbers, has S + 1 of them for some S, as 61.
    """
    return [round(length - i * length / steps) - 1 for i in range(steps)]


def even_in_log_snr(steps: int, log_snr: Sequence[float]) -> list[int]:
    """The first S timesteps nearest to S+1 points from T-1 to 0, even in log(alpha_bar / (1 - alpha_bar)).

    The last point, timestep 0, is where Lu et al. 2022 end. The first is no noisier than `NOISIEST`. The timesteps
    are distinct and decrease: where two fall together, at the clean end, the noisier moves up.
    """
    length = len(log_snr)
    first, last = max(log_snr[-1], min(2 * NOISIEST, log_snr[0])), log_snr[0]
    points = [first + (last - first) * i / steps for i in range(steps)]
    chosen = [_nearest(log_snr, point) for point in points]
    least = 1 if steps < length else 0
    for i in range(steps - 1, -1, -1):
        chosen[i] = max(chosen[i], least)
        least = chosen[i] + 1
    # what had to move beyond T-1 comes back
    return [min(chosen[i], length - 1 - i) for i in range(steps)]


def _nearest(decreasing: Sequence[float], value: float) -> int:
    after = bisect_left(decreasing, -value, key=lambda each: -each)
    return min((i for i in (after - 1, after) if 0 <= i < len(decreasing)), key=lambda i: abs(decreasing[i] - value))
