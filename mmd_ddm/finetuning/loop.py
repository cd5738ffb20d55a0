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
    loss: float
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
            parameters and returns the loss.
        updates: the total number of optimizer updates.
        clip: largest norm of the gradient of an update, applied once to the whole; none for no clipping.
        collective: the workers; gradients are summed over them.
        milestones: numbers of updates after which `on_milestone` is called.
        on_update: called after each update.
        on_milestone: evaluates, reports and saves.
        should_stop: asked before each update; if any worker says so all stop, after the update that they are at.

    Raises:
        DivergenceError: the loss or the gradient is not finite; the weights are still those of the update before.
    """
    parameters = [each for each in state.denoiser.parameters() if each.requires_grad]
    alone = collective.world == 1
    stop = bool(collective.sum_(torch.full((), float(should_stop()), device=parameters[0].device)))
    while state.update < updates and not stop:
        state.optimizer.zero_grad(set_to_none=True)
        value = compute_gradient(state.update)
        asked = sum_gradients(parameters, collective, not alone and should_stop())
        total = nn.utils.clip_grad_norm_(parameters, clip if clip is not None else math.inf)
        # the only time in an update that the processor waits for a GPU
        told = [each.detach().double().to(total.device) for each in (value, total, asked)]
        loss, norm, asking = torch.stack(told).tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergenceError(
                f"update {state.update + 1} has loss {loss:.4g} and gradient norm {norm:.4g}: the run diverged; "
                "use a smaller learning rate or clip the gradient"
            )
        state.optimizer.step()
        if state.ema is not None:
            state.ema.update(state.denoiser, state.update)
        state.update += 1
        on_update(UpdateRecord(state.update, loss, norm))
        if state.update in milestones:
            on_milestone(state)
        stop = should_stop() if alone else asking > 0


def sum_gradients(parameters: list[nn.Parameter], collective: Collective, asked: bool = False) -> Tensor:
    """Sum the parameters' gradients over workers; returns how many of them ask for something, in the same exchange."""
    asking = torch.full((1,), float(asked), dtype=parameters[0].dtype, device=parameters[0].device)
    if collective.world > 1:
        flat = collective.sum_(torch.cat([*(_gradient(p).flatten() for p in parameters), asking]))
        *pieces, asking = flat.split([*(p.numel() for p in parameters), 1])
        for parameter, piece in zip(parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)
    return asking[0]


def _gradient(parameter: nn.Parameter) -> Tensor:
    return parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
