"""What a budget of S network evaluations is for each sampler that finetuning goes through; without PyTorch."""

from __future__ import annotations

from mmd_ddm.diffusion.names import LEARNED, TWICE
from mmd_ddm.diffusion.timesteps import check_budget
from mmd_ddm.errors import UserError


def is_guided(guidance_scale: float | None) -> bool:
    """Whether predictions are guided: 1 is the conditional prediction itself."""
    return guidance_scale not in (None, 1)


def unguided(evaluations: int, guidance_scale: float | None) -> int:
    """How many predictions S evaluations are for: with guidance half as many; a UserError if that leaves one over."""
    if not is_guided(guidance_scale):
        return evaluations
    if evaluations % 2:
        nearest = " or ".join(str(each) for each in (evaluations - 1, evaluations + 1) if each > 0)
        raise UserError(
            f"steps is {evaluations}, but with guidance_scale {guidance_scale:g} every step takes two network "
            f"evaluations; choose {nearest}"
        )
    return evaluations // 2


def levels_of(sampler: str, evaluations: int) -> int:
    """How many timesteps S evaluations are made at; a UserError if the sampler can't make just so many."""
    if sampler not in TWICE:
        return evaluations
    if evaluations % 2 == 0:
        nearest = " or ".join(str(each) for each in (evaluations - 1, evaluations + 1) if each > 0)
        raise UserError(f"sampler {sampler} cannot make exactly {evaluations} network evaluations; choose {nearest}")
    return (evaluations + 1) // 2


def check_chain(sampler: str, schedule: str, steps: int, length: int, guidance_scale: float | None = None) -> None:
    """Refuse a budget that a sampler can't have on a process of T timesteps, as `make_chain` would.

    The one that lies beside a model is not looked at.
    """
    predictions = unguided(steps, guidance_scale)
    if sampler != LEARNED:
        check_budget(schedule, levels_of(sampler, predictions), length)


def evaluations(sampler: str, schedule: str, steps: int, length: int, guidance_scale: float | None = None) -> int:
    """How many network evaluations a budget of S is: S, but for `stride`, which may make more."""
    if schedule != "stride":
        return steps
    found = len(range(0, length, length // levels_of(sampler, unguided(steps, guidance_scale))))
    predictions = 2 * found - 1 if sampler in TWICE else found
    return 2 * predictions if is_guided(guidance_scale) else predictions
