"""The training loop of all networks that the project makes from nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.precision import BF16, FP32, inside_network
from mmd_ddm.progress import progress
from mmd_ddm.training_state import Keeper, TrainingState

_MEMORY = 0.99  # of the running mean of the loss


@dataclass(frozen=True)
class Optimization:
    """How a network is trained.

    The learning rate rises linearly over the warm-up and then falls to zero along half a cosine; the decay of the
    average of the weights warms up as (1 + update) / (10 + update).

    Args:
        updates: Number of optimizer updates, at least 1.
        learning_rate: At its highest, above 0.
        ema: Decay of the average of the weights, in [0, 1); the average is what is kept.
        warmup: Updates until the learning rate is at its highest, at least 0.
        clip: Largest norm of an update's gradient, above 0; None: any.
        precision: `fp32`, or `bf16`: the network computes in bfloat16 where autocast deems it safe; weights, loss
            and optimizer stay in float32.

    Raises:
        UserError: A number is out of its range.
    """

    updates: int
    learning_rate: float
    ema: float
    warmup: int = 0
    clip: float | None = None
    precision: str = FP32

    def __post_init__(self) -> None:
        if self.updates < 1:
            raise UserError(f"updates is {self.updates}; it must be at least 1.")
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate is {self.learning_rate}; it must be above 0.")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema is {self.ema}; it must be at least 0 and below 1.")
        if not 0 <= self.warmup <= self.updates:
            raise UserError(f"warmup is {self.warmup}; it must be from 0 to the number of updates.")
        if self.clip is not None and not self.clip > 0:
            raise UserError(f"clip is {self.clip}; it must be above 0.")
        if self.precision not in (FP32, BF16):
            raise UserError(f"precision is {self.precision!r}; it must be one of {FP32}, {BF16}.")

    def rate(self, update: int) -> float:
        """Return the learning rate of an update, counted from 0."""
        if update < self.warmup:
            return self.learning_rate * (update + 1) / self.warmup
        past = (update - self.warmup) / max(1, self.updates - self.warmup)
        return self.learning_rate * (1 + math.cos(math.pi * past)) / 2


@dataclass(frozen=True)
class Inspection:
    """A look at a training, a few times, evenly spread: the averaged weights are in the network, in evaluation mode.

    `look` is given the number of updates done. What it draws from torch's global generators has no effect on the
    training.
    """

    times: int
    look: Callable[[int], None]


def milestones(updates: int, times: int) -> Collection[int]:
    """Return updates after which something is done: evenly spread, the last at the end."""
    return {max(1, updates * (i + 1) // times) for i in range(times)}


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 numbers itself, so that they are faster than float32's."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(found.get("avx512_bf16") or found.get("amx_bf16"))


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's global generators, of the processor and of `device`, and put them back as they were afterwards."""
    with torch.random.fork_rng(devices=_accelerators(device)):
        torch.manual_seed(seed)
        yield


def train(
    network: nn.Module,
    loss: Callable[[], Tensor],
    optimization: Optimization,
    *,
    stage: str,
    optimizer: torch.optim.Optimizer | None = None,
    keeper: Keeper | None = None,
    inspection: Inspection | None = None,
) -> float:
    """Minimise a loss and leave the moving average of the weights in the network.

    Args:
        network: What is trained; only its parameters move.
        loss: Draws a batch and returns its loss, a scalar.
        optimization: How long and how.
        stage: What is being done, for the progress bar.
        optimizer: Of the network's parameters, each group with the learning rate times its "part"; None: Adam.
        keeper: Keeps the state on disk, and has that of a training that was interrupted.
        inspection: What to do on the way.

    Returns:
        Running mean of the loss at the end.

    Raises:
        UserError: What the keeper has is of another training, or damaged.
        DivergenceError: If the loss stops being finite.
    """
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=optimization.learning_rate)
    state = TrainingState(network, optimizer)
    if keeper is not None:
        keeper.restore(state)
    device = next(network.parameters()).device.type
    with progress(stage, optimization.updates, done=state.update) as advance:
        while state.update < optimization.updates:
            with inside_network(optimization.precision, device):
                batch_loss = loss()
            value = _step(state, batch_loss, optimization)
            advance(f"loss {state.loss:.4f}")
            if not math.isfinite(value):
                raise DivergenceError(f"The loss is {value} at update {state.update}; lower the learning rate.")
            state.update += 1
            if inspection is not None and state.update in milestones(optimization.updates, inspection.times):
                with torch.random.fork_rng(devices=_accelerators(device)), state.averaged():
                    inspection.look(state.update)
            if keeper is not None:
                keeper.keep(state, last=state.update == optimization.updates)
    state.apply_average()
    return state.loss


def _step(state: TrainingState, batch_loss: Tensor, optimization: Optimization) -> float:
    """Make one update and return the loss before it."""
    for group in state.optimizer.param_groups:
        group["lr"] = optimization.rate(state.update) * group.get("part", 1.0)
    state.optimizer.zero_grad()
    batch_loss.backward()
    if optimization.clip is not None:
        nn.utils.clip_grad_norm_(state.network.parameters(), optimization.clip)
    state.optimizer.step()
    state.follow(min(optimization.ema, (1 + state.update) / (10 + state.update)))
    value = batch_loss.item()
    state.loss = value if state.update == 0 else state.loss + (1 - _MEMORY) * (value - state.loss)
    return value


def _accelerators(device: str) -> list[torch.device]:
    return [] if torch.device(device).type == "cpu" else [torch.device(device)]
