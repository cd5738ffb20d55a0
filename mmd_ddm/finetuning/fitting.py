"""Updates that fit: what runs out of memory is computed again in smaller pieces, with the same gradient."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmd_ddm.compilation import batches_of
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.errors import ResourceError
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.memory import Route, free_bytes, readable
from mmd_ddm.finetuning.names import REPLAY, STORED
from mmd_ddm.finetuning.objective import Loss, ValueAndGradient
from mmd_ddm.out_of_memory import fitted

_log = logging.getLogger(__name__)
Draw = Callable[[int], Sequence[Start]]  # of this worker, so many samples at a time


def fitting_gradient(pipeline: Rollout, objective: Loss, route: Route, draw: Draw, update: int) -> tuple[Tensor, Route]:
    """Add the gradient of an update to the denoiser's parameters, which have none yet; see `stored_gradient`.

    Where memory runs out the stored graph gives way to the replayed chain, and then each time half as many samples pass
    the network together. Workers agree on the loss once, so that each may choose for itself.

    Returns:
        The loss of the whole batch, a float64 scalar, and the route that fitted.

    Raises:
        ResourceError: Not even one sample fits.
    """
    agreed = _Agreed(objective)
    parameters = list(pipeline.denoiser.parameters())
    device = parameters[0].device

    def compute(route: Route) -> Tensor:
        starts = draw(route.micro_batch)
        with batches_of(max(start.images for start in starts)):
            return GRADIENTS[route.gradient](pipeline, agreed, starts, update)

    def smaller(route: Route, said: str) -> Route:
        for parameter in parameters:
            parameter.grad = None
        return _smaller(route, said, device, update)

    return fitted(compute, route, smaller, device)


class _Agreed:
    """The objective, asked once: its exchange between workers can't be repeated by one of them alone."""

    def __init__(self, objective: Loss) -> None:
        self._objective = objective
        self._answer: ValueAndGradient | None = None

    def __call__(self, features: Tensor, update: int) -> ValueAndGradient:
        if self._answer is None:
            self._answer = self._objective(features, update)
        return self._answer


def _smaller(route: Route, said: str, device: torch.device, update: int) -> Route:
    if route.gradient == REPLAY and route.micro_batch == 1:
        raise ResourceError(
            f"one image at a time doesn't fit in memory ({said}; {readable(free_bytes(device))} are free); take a "
            "smaller model or smaller images, or a device with more memory"
        )
    size = route.micro_batch if route.gradient == STORED else route.micro_batch // 2
    _log.warning(
        "Memory ran out in update %d (%s, %d images at a time); from now on the chain is replayed with %d at a time.",
        update + 1, route.gradient, route.micro_batch, size,
    )  # fmt: skip
    return Route(REPLAY, size)
