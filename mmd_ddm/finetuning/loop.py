"""The finetuning loop: gradient, clip once, Adam, EMA, report. It knows no cluster, tracker or data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.errors import DivergenceError
from mmd_ddm.finetuning.checkpoint import TrainingState


class UpdateRecord(NamedTuple):
    """What one update says of itself: its number (1, 2 ...), the loss before it, and the norm of its gradient."""

    update: int
    mmd2: float
    grad_norm: float


def finetune(
    state: TrainingState,
    compute_gradient: Callable[[int], Tensor],
    *,
    updates: int,
    clip: float | None,
    collective: Collective,
    milestones: Collection[int],
    on_update: Callable[[UpdateRecord], None],
    on_milestone: Callable[[TrainingState], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run updates `state.update` + 1 ... `updates`.

    Args:
        state: where to start; changed in place.
        compute_gradient: given the number of updates done, adds this worker's part of the gradient to the
            parameters and returns MMD^2.
        updates: the total number of optimizer updates.
        clip: largest norm of the gradient of an update, applied once to the whole; none for no clipping.
        collective: the workers; gradients are summed over them.
        milestones: numbers of updates after which `on_milestone` is called.
        on_update: called after each update.
        on_milestone: evaluates, reports and saves.
        should_stop: asked before each update.

    Raises:
        DivergenceError: the loss or the gradient is not finite; the weights are still those of the update before.
    """
    parameters = [each for each in state.denoiser.parameters() if each.requires_grad]
    while state.update < updates and not should_stop():
        state.optimizer.zero_grad(set_to_none=True)
        mmd2 = float(compute_gradient(state.update))
        sum_gradients(parameters, collective)
        norm = float(nn.utils.clip_grad_norm_(parameters, clip if clip is not None else math.inf))
        if not (math.isfinite(mmd2) and math.isfinite(norm)):
            raise DivergenceError(
                f"update {state.update + 1} has loss {mmd2:.4g} and gradient norm {norm:.4g}: the run diverged; "
                "use a smaller learning rate or clip the gradient"
            )
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update(state.denoiser, state.update)
        state.update += 1
        on_update(UpdateRecord(state.update, mmd2, norm))
        if state.update in milestones:
            on_milestone(state)


def sum_gradients(parameters: list[nn.Parameter], collective: Collective) -> None:
    """Sum the parameters' gradients over workers in one exchange."""
    if collective.world == 1:
        return
    flat = collective.sum_(torch.cat([_gradient(p).flatten() for p in parameters]))
    for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = piece.view_as(parameter)


def _gradient(parameter: nn.Parameter) -> Tensor:
    return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
