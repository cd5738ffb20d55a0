"""What changes while a network is trained from nothing, and how it outlives the process: safetensors and JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from mmd_ddm.errors import UserError
from mmd_ddm.files import remove
from mmd_ddm.records import changes
from mmd_ddm.saved_state import load_state, save_state

_SECONDS = 60.0  # between two times that the state is written


@torch.no_grad()
def set_weights(network: nn.Module, weights: Iterable[Tensor]) -> None:
    """Copy weights into a network's parameters, in their order."""
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        parameter.copy_(weight)


@contextmanager
def lent(network: nn.Module, weights: Iterable[Tensor]) -> Iterator[None]:
    """Give a network other weights, in the order of its parameters, for a while."""
    own = [parameter.detach().clone() for parameter in network.parameters()]
    set_weights(network, weights)
    try:
        yield
    finally:
        set_weights(network, own)


class TrainingState:
    """Everything that changes from update to update, torch's global generators aside.

    Args:
        network: its parameters are trained.
        optimizer: over the network's parameters, in their order.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.network, self.optimizer = network, optimizer
        self.average = [weight.detach().clone() for weight in network.parameters()]
        self.update = 0  # updates done
        self.loss = 0.0  # running mean

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average of the weights towards them."""
        for mean, weight in zip(self.average, self.network.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)

    def apply_average(self) -> None:
        """Put the averaged weights into the network."""
        set_weights(self.network, self.average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lend the averaged weights to the network for a while, in evaluation mode."""
        training = self.network.training
        self.network.eval()
        try:
            with lent(self.network, self.average):
                yield
        finally:
            self.network.train(training)

    def tensors(self) -> dict[str, Tensor]:
        """All that is to be kept, by name: weights, averages, the optimizer's moments and the generators."""
        found = {"generator/cpu": torch.random.get_rng_state()}
        if (device := next(self.network.parameters()).device).type == "cuda":
            found["generator/cuda"] = torch.cuda.get_rng_state(device)
        for key, weight in self.network.state_dict().items():
            found[f"weights/{key}"] = weight
        for index, mean in enumerate(self.average):
            found[f"average/{index}"] = mean
        for index, moments in self.optimizer.state_dict()["state"].items():
            found.update({f"optimizer/{index}/{key}": value for key, value in moments.items()})
        return {name: value.detach().contiguous() for name, value in found.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned; KeyError or RuntimeError if it is of another network."""
        weights = {name.removeprefix("weights/"): value for name, value in tensors.items() if name[:8] == "weights/"}
        self.network.load_state_dict(weights)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind == "optimizer":
                place, _, key = rest.partition("/")
                moments.setdefault(int(place), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        for index, mean in enumerate(self.average):
            mean.copy_(tensors[f"average/{index}"])
        torch.random.set_rng_state(tensors["generator/cpu"])
        if "generator/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["generator/cuda"])


class Keeper:
    """Keeps the state of a training in a folder, so that the same command goes on where it was interrupted.

    Args:
        folder: of this training alone.
        settings: what decides the result; a state that was kept under others is refused.
        seconds: least time between two writings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object], seconds: float = _SECONDS) -> None:
        self.folder, self._settings, self._seconds = folder, json.loads(json.dumps(settings)), seconds
        self._written = time.monotonic()

    def keep(self, state: TrainingState, last: bool = False) -> None:
        """Write the state, complete or not at all, if it is time to."""
        if not last and time.monotonic() - self._written < self._seconds:
            return
        record = {"update": state.update, "loss": state.loss, "settings": self._settings}
        save_state(self.folder / "state", state.tensors(), record)
        self._written = time.monotonic()

    def restore(self, state: TrainingState) -> None:
        """Go on from what was kept, if anything was.

        Raises:
            UserError: It is damaged, or was kept under other settings.
        """
        kept = self.folder / "state"
        if not kept.is_dir():
            return
        advice = f"delete {self.folder} to begin anew"
        try:
            record, tensors = load_state(kept)
            former, update, loss = record.mapping("settings"), record.whole("update"), record.number("loss")
        except UserError as error:
            raise UserError(f"{kept} can't be read ({error}); {advice}") from None
        if told := changes(former, self._settings):
            raise UserError(f"{self.folder} holds an unfinished training with other settings: {told}; {advice}")
        try:
            state.load(tensors)
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"{kept} can't be read ({error}); {advice}") from None
        state.update, state.loss = update, loss

    def clear(self) -> None:
        """Forget what was kept."""
        remove(self.folder)
