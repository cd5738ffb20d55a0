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
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.diffusion.chain import Chain, State
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.finetuning.names import REPLAY, STORED
from mmd_ddm.finetuning.objective import Loss


@dataclass(frozen=True)
class Rollout:
    """From noise to features."""

    denoiser: Denoiser  # its parameters receive the gradient
    chain: Chain
    embed: Callable[[Tensor], Tensor]  # images (N, C, H, W) to features (N, D), differentiable
    dropout: NoiseSource | None = None  # of the masks where the network is in train mode

    def step(self, state: State, k: int, noise: Float[Tensor, "draws N C H W"], position: tuple[int, ...]) -> State:
        """One step of the chain; the same masks each time it is computed at the same position."""
        if self.dropout is None:
            return self.chain.step(self.denoiser, state, k, noise)
        with _seeded(self.dropout.state(*position, k), state.image.device):
            return self.chain.step(self.denoiser, state, k, noise)

    def features(self, image: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D"]:
        """Features of what the chain ends with, images or a latent model's latents."""
        return self.embed(self.denoiser.decode(image))

    def trajectory(self, noise: Float[Tensor, "draws N C H W"], position: tuple[int, ...]) -> list[State]:
        """All S + 1 states of a micro-batch."""
        states = [State(noise[0])]
        for k in range(len(self.chain.timesteps)):
            states.append(self.step(states[-1], k, noise, position))
        return states


def stored_gradient(
    pipeline: Rollout, objective: Loss, noises: Sequence[Float[Tensor, "draws _ C H W"]], update: int
) -> Float[Tensor, ""]:
    """Add the objective's gradient to the denoiser's parameters through a stored graph of all micro-batches' noises.

    Returns:
        The loss of the whole batch, a float64 scalar.
    """
    features = [pipeline.features(pipeline.trajectory(noise, (update, i))[-1].image) for i, noise in enumerate(noises)]
    value, gradient = objective(torch.cat([f.detach() for f in features]), update)
    torch.autograd.backward(features, list(gradient.split([len(f) for f in features])))
    return value


def replayed_gradient(
    pipeline: Rollout, objective: Loss, noises: Sequence[Float[Tensor, "draws _ C H W"]], update: int
) -> Float[Tensor, ""]:
    """Add the objective's gradient to the denoiser's parameters by replaying the chain; see `stored_gradient`."""
    with torch.no_grad():
        trajectories = [pipeline.trajectory(noise, (update, i)) for i, noise in enumerate(noises)]
        features = [pipeline.features(states[-1].image) for states in trajectories]
    value, gradient = objective(torch.cat(features), update)
    pieces = gradient.split([len(f) for f in features])
    for i, (noise, states, piece) in enumerate(zip(noises, trajectories, pieces, strict=True)):
        _pull_back(pipeline, noise, states, piece, (update, i))
        trajectories[i].clear()
    return value


GRADIENTS: dict[str, Callable[[Rollout, Loss, Sequence[Tensor], int], Tensor]] = {
    STORED: stored_gradient,
    REPLAY: replayed_gradient,
}


def _pull_back(
    pipeline: Rollout, noise: Tensor, states: list[State], gradient: Tensor, position: tuple[int, ...]
) -> None:
    last = states[-1].image.detach().requires_grad_()
    pipeline.features(last).backward(gradient)
    cotangents: tuple[Tensor | None, ...] = (last.grad,)
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
