"""A run's moving state on disk: enough to continue bit for bit. Safetensors and JSON only, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.errors import UserError
from mmd_ddm.files import remove
from mmd_ddm.finetuning.ema import EMA, copy_weights
from mmd_ddm.finetuning.gradient import GRADIENTS
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.records import Record, changes
from mmd_ddm.saved_state import load_state, save_state


@dataclass
class TrainingState:
    """Everything that changes from update to update; random numbers need no place, they depend on position alone.

    How the gradient is computed is part of it, since the choice may depend on the free memory of the moment and the
    ways differ by rounding.
    """

    denoiser: Denoiser  # with the raw weights
    optimizer: torch.optim.Adam  # over the denoiser's parameters, those of its sampler included
    ema: EMA | None
    update: int = 0  # updates done
    route: Route | None = None  # once chosen


def save_checkpoint(
    state: TrainingState, folder: Path, config: dict[str, object], made_of: Mapping[str, str] | None = None
) -> Path:
    """Write or replace a checkpoint folder, complete or not at all.

    Args:
        state: What is kept.
        folder: Of the checkpoint.
        config: Settings that tell it from that of another run.
        made_of: Fingerprints of what the settings name by paths alone, by what they are of.
    """
    for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed; only one writes at a time
        remove(left)
    record = {"update": state.update, "route": state.route, "config": config, "made_of": dict(made_of or {})}
    save_state(folder, _tensors(state), record)
    return folder


def load_checkpoint(
    state: TrainingState, folder: Path, config: dict[str, object], made_of: Mapping[str, str] | None = None
) -> None:
    """Continue from a checkpoint folder, in place; arguments as of `save_checkpoint`.

    Raises:
        UserError: it is missing, damaged or incomplete, of another network, or of a run with other settings or other
            content of what these name; what only one of both has a fingerprint of is not compared.
    """
    try:
        record, tensors = load_state(folder)
        update, route, former = record.whole("update"), _route(record), record.mapping("config")
        then = record.mapping("made_of") if "made_of" in record else {}  # an earlier version has none
    except UserError as error:
        raise UserError(f"checkpoint {folder} cannot be read ({error}); use an earlier one or start again") from None
    if told := changes({key: former.get(key) for key in config}, config):
        raise UserError(f"checkpoint {folder} belongs to a run with other settings: {told}")
    both = then.keys() & (made_of or {}).keys()
    if told := changes({key: then[key] for key in both}, {key: (made_of or {})[key] for key in both}):
        hint = "put it back as it was, or begin a new run"
        raise UserError(f"checkpoint {folder} was made with other content: the fingerprint of {told}; {hint}")
    expected = _tensors(state, with_moments=False)
    if any(name not in tensors or tensors[name].shape != value.shape for name, value in expected.items()):
        raise UserError(f"checkpoint {folder} belongs to another network")
    _check_moments(state, folder, tensors, update, tensors.keys() - expected.keys())
    _restore(state, tensors)
    state.update, state.route = update, route


def _route(record: Record) -> Route:
    match record.raw("route"):
        case [str() as gradient, int() as micro_batch] if gradient in GRADIENTS and micro_batch >= 1:
            return Route(gradient, micro_batch)
        case other:
            raise record.damaged(f"route is {other!r}")


def _check_moments(
    state: TrainingState, folder: Path, tensors: Mapping[str, Tensor], update: int, others: AbstractSet[str]
) -> None:
    """Refuse a checkpoint after updates without all of Adam's moments; a parameter without a gradient has none."""
    found = 0
    for name, parameter in state.denoiser.named_parameters():
        shapes = {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
        keys = {f"adam/{key}/{name}": shape for key, shape in shapes.items()}
        there = keys.keys() & tensors.keys()
        if there and any(key not in tensors or tensors[key].shape != shape for key, shape in keys.items()):
            raise UserError(f"checkpoint {folder} is incomplete: Adam's moments of {name} are not whole; start again")
        found += bool(there)
        others = others - there
    if update and not found:
        raise UserError(f"checkpoint {folder} is incomplete: it has no moments of Adam; start again")
    if others:
        raise UserError(f"checkpoint {folder} belongs to another network: it has {min(others)}")


def _tensors(state: TrainingState, with_moments: bool = True) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, parameter in state.denoiser.named_parameters():
        found[f"weights/{name}"] = parameter.detach()
        if state.ema is not None:
            found[f"ema/{name}"] = state.ema.average[name]
        moments = state.optimizer.state.get(parameter, {}) if with_moments else {}
        found.update({f"adam/{key}/{name}": value for key, value in moments.items()})
    return {name: value.contiguous() for name, value in found.items()}


def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    named = dict(state.denoiser.named_parameters())
    copy_weights({name: tensors[f"weights/{name}"] for name in named}, state.denoiser)
    if state.ema is not None:
        for name, average in state.ema.average.items():
            average.copy_(tensors[f"ema/{name}"])
    for name, parameter in named.items():
        keys = ("step", "exp_avg", "exp_avg_sq")
        moments = {key: tensors[f"adam/{key}/{name}"] for key in keys if f"adam/{key}/{name}" in tensors}
        if moments:
            # Adam keeps the step on the CPU unless it is fused
            apart = () if state.optimizer.defaults["fused"] else ("step",)
            state.optimizer.state[parameter] = {
                key: value.clone() if key in apart else value.to(parameter.device) for key, value in moments.items()
            }
