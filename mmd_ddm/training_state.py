"""What changes while a network is trained from nothing, and how it outlives the process: safetensors and JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmd_ddm.errors import UserError
from mmd_ddm.files import remove, replacing, write_json

_SECONDS = 60.0  # between two times that the state is written


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

    @torch.no_grad()
    def apply_average(self) -> None:
        """Put the averaged weights into the network."""
        for weight, mean in zip(self.network.parameters(), self.average, strict=True):
            weight.copy_(mean)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Lend the averaged weights to the network for a while, in evaluation mode."""
        own, training = [weight.detach().clone() for weight in self.network.parameters()], self.network.training
        self.apply_average()
        self.network.eval()
        try:
            yield
        finally:
            self.network.train(training)
            with torch.no_grad():
                for weight, former in zip(self.network.parameters(), own, strict=True):
                    weight.copy_(former)

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
        with replacing(self.folder / "state") as half:
            half.mkdir()
            save_file(state.tensors(), half / "state.safetensors")
            record = {"update": state.update, "loss": state.loss, "settings": self._settings}
            write_json(half / "state.json", record)
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
            record = json.loads((kept / "state.json").read_text())
            former = dict(record["settings"])
            if former != self._settings:
                keys = sorted(former.keys() | self._settings.keys())
                words = (f"{k} was {former.get(k)!r} and is {self._settings.get(k)!r}" for k in keys)
                told = ", ".join(
                    text for k, text in zip(keys, words, strict=True) if former.get(k) != self._settings.get(k)
                )
                raise UserError(f"{self.folder} holds an unfinished training with other settings: {told}; {advice}")
            state.load(load_file(kept / "state.safetensors"))
            state.update, state.loss = int(record["update"]), float(record["loss"])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{kept} can't be read ({error}); {advice}") from None

    def clear(self) -> None:
        """Forget what was kept."""
        remove(self.folder)


def _changes(former: Mapping[str, object], present: Mapping[str, object]) -> str:
    keys = sorted(key for key in former.keys() | present.keys() if former.get(key) != present.get(key))
    return ", ".join(f"{key} was {former.get(key)!r} and is {present.get(key)!r}" for key in keys)
