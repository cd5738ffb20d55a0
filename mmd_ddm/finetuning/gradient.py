"""The exact gradient of the objective through the sampling chain, for any batch at constant memory.

The MMD of a batch is not the mean of the MMDs of its parts, so ordinary gradient accumulation would compute another,
noisier estimator. Both routes here compute the gradient of the whole batch's loss:

* stored: every micro-batch's graph is kept until the features' gradient is known (cost 1);
* replayed: the chain runs without a graph and keeps the S + 1 states of every sample; then, micro-batch by
  micro-batch, the features' gradient is pulled back into the image, of a latent model through its decoder into the
  latents, and step by step up the chain, where each network evaluation is recomputed from its kept state (cost 4/3).
  One evaluation's activations of one micro-batch are alive at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.chain import Chain, Start, State
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.discrepancy.labels import beside_labels
from mmd_ddm.finetuning.names import REPLAY, STORED
from mmd_ddm.finetuning.objective import Loss


@dataclass(frozen=True)
class Rollout:
    """From noise to features."""

    denoiser: Denoiser  # its parameters receive the gradient
    chain: Chain
    embed: Callable[[Tensor], Tensor]  # images (N, C, H, W) to features (N, D), differentiable
    dropout: NoiseSource | None = None  # of the masks where the network is in train mode
    joint: bool = False  # whether the loss is of pairs: the features have the images' labels as their last column

    def step(self, state: State, k: int, noise: Float[Tensor, "draws N C H W"], position: tuple[int, ...]) -> State:
        """One step of the chain; the same masks each time it is computed at the same position."""
        if self.dropout is None:
            return self.chain.step(self.denoiser, state, k, noise)
        with _seeded(self.dropout.state(*position, k), state.image.device):
            return self.chain.step(self.denoiser, state, k, noise)

    def trajectory(self, start: Start, position: tuple[int, ...]) -> list[State]:
        """All S + 1 states of a micro-batch."""
        settled, states = replace(self, chain=self.chain.settled()), [State(start.noise[0], labels=start.labels)]
        for k in range(len(self.chain.timesteps)):
            states.append(settled.step(states[-1], k, start.noise, position))
        return states

    def features(self, state: State) -> Tensor:
        """What the loss sees of a chain's last state, differentiable in its image, or a latent model's latents."""
        features = self.embed(self.denoiser.decode(state.image))
        if not self.joint:
            return features
        assert state.labels is not None
        return beside_labels(features, state.labels)


def stored_gradient(pipeline: Rollout, objective: Loss, starts: Sequence[Start], update: int) -> Float[Tensor, ""]:
    """Add the objective's gradient to the denoiser's parameters through a stored graph of all micro-batches.

    Returns:
        The loss of the whole batch, a float64 scalar.
    """
    features = [pipeline.features(pipeline.trajectory(start, (update, i))[-1]) for i, start in enumerate(starts)]
    value, gradient = objective(torch.cat([f.detach() for f in features]), update)
    torch.autograd.backward(features, list(gradient.split([len(f) for f in features])))
    return value


def replayed_gradient(pipeline: Rollout, objective: Loss, starts: Sequence[Start], update: int) -> Float[Tensor, ""]:
    """Add the objective's gradient to the denoiser's parameters by replaying the chain; see `stored_gradient`."""
    with torch.no_grad():
        trajectories = [pipeline.trajectory(start, (update, i)) for i, start in enumerate(starts)]
        features = [pipeline.features(states[-1]) for states in trajectories]
    value, gradient = objective(torch.cat(features), update)
    pieces = gradient.split([len(f) for f in features])
    for i, (start, states, piece) in enumerate(zip(starts, trajectories, pieces, strict=True)):
        _pull_back(pipeline, start.noise, states, piece, (update, i))
        trajectories[i].clear()
    return value


GRADIENTS: dict[str, Callable[[Rollout, Loss, Sequence[Start], int], Tensor]] = {
    STORED: stored_gradient,
    REPLAY: replayed_gradient,
}


def _pull_back(
    pipeline: Rollout, noise: Tensor, states: list[State], gradient: Tensor, position: tuple[int, ...]
) -> None:
    last = states[-1].map(partial(_leaf, needed=True))
    pipeline.features(last).backward(gradient)
    cotangents: tuple[Tensor | None, ...] = (last.image.grad,)
    for k in reversed(range(len(states) - 1)):
        before = states[k].map(partial(_leaf, needed=k > 0))
        after = pipeline.step(before, k, noise, position)
        # what a solver carries on from the initial noise alone depends on no weight
        pairs = zip(after.tensors, cotangents, strict=True)
        reached = [(tensor, cotangent) for tensor, cotangent in pairs if tensor.requires_grad and cotangent is not None]
        torch.autograd.backward([tensor for tensor, _ in reached], [cotangent for _, cotangent in reached])
        cotangents = tuple(tensor.grad for tensor in before.tensors)


def _leaf(tensor: Tensor, needed: bool) -> Tensor:
    return tensor.detach().requires_grad_(needed)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
