"""The training loop of all networks that the project makes from nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.progress import progress

_MEMORY = 0.99  # of the running mean of the loss


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators, of the processor and of `device`, and put them back as they were afterwards."""
    accelerators = [] if torch.device(device).type == "cpu" else [torch.device(device)]
    with torch.random.fork_rng(devices=accelerators):
        torch.manual_seed(seed)
        yield


def train(
    network: nn.Module,
    loss: Callable[[], Tensor],
    *,
    stage: str,
    updates: int,
    learning_rate: float,
    ema: float,
    optimizer: torch.optim.Optimizer | None = None,
) -> float:
    """Minimise a loss and leave the moving average of the weights in the network.

    The learning rate falls to zero along half a cosine; the average's decay warms up as
    (1 + update) / (10 + update).

    Args:
        network: What is trained; only its parameters move.
        loss: Draws a batch and returns its loss, a scalar.
        stage: What is being done, for the progress bar.
        updates: Number of optimizer updates, at least 1.
        learning_rate: At the start, above 0.
        ema: Decay of the average of the weights, in [0, 1).
        optimizer: Of the network's parameters, each group with the learning rate times its "part"; None: Adam.

    Returns:
        Running mean of the loss at the end.

    Raises:
        UserError: If a number is out of its range.
        DivergenceError: If the loss stops being finite.
    """
    if updates < 1:
        raise UserError(f"updates is {updates}; it must be at least 1.")
    if not learning_rate > 0:
        raise UserError(f"learning_rate is {learning_rate}; it must be above 0.")
    if not 0 <= ema < 1:
        raise UserError(f"ema is {ema}; it must be at least 0 and below 1.")
    average = [weight.detach().clone() for weight in network.parameters()]
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=learning_rate)
    running = 0.0
    with progress(stage, updates) as advance:
        for update in range(updates):
            for group in optimizer.param_groups:
                rate = learning_rate * group.get("part", 1.0)
                group["lr"] = rate * (1 + math.cos(math.pi * update / updates)) / 2
            batch_loss = loss()
            optimizer.zero_grad()
            batch_loss.backward()
            optimizer.step()
            if not math.isfinite(value := batch_loss.item()):
                raise DivergenceError(f"The loss is {value} at update {update}; lower the learning rate.")
            with torch.no_grad():
                for mean, weight in zip(average, network.parameters(), strict=True):
                    mean.lerp_(weight, 1 - min(ema, (1 + update) / (10 + update)))
            running = value if update == 0 else running + (1 - _MEMORY) * (value - running)
            advance(f"loss {running:.4f}")
    with torch.no_grad():
        for weight, mean in zip(network.parameters(), average, strict=True):
            weight.copy_(mean)
    return running
