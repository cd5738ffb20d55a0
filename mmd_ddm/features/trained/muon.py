"""Muon: momentum whose direction is made orthogonal, which trains convolutions in about half the updates of Adam."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_MOMENTUM = 0.9
_ITERATIONS = 4
_A, _B, _C = 3.4445, -4.7750, 2.0315  # of the iteration: steep at 0, near 1 from 0.7 to 1.2
_OTHERS = 1 / 16  # Adam's learning rate, of Muon's
_BETAS, _EPS = (0.9, 0.95), 1e-8  # Adam's


class Muon(torch.optim.Optimizer):
    """Muon for convolutions that a normalisation follows, Adam for all other parameters.

    W <- sqrt(filters) W / ||W||, then W <- W - lr O, where O has the singular vectors of Nesterov's momentum, as a
    matrix of one row a filter, and singular values near 1 (Jordan et al. 2024, "Muon: An optimizer for hidden layers
    in neural networks", as in their CIFAR-10 speed record). torch's own takes matrices only, and no convolutions.

    Args:
        network: Whose parameters are trained. Convolutions without a bias have a normalisation behind them, so their
            norm, which is kept, means nothing.
        learning_rate: Of the convolutions, a relative change in one update; Adam's is a sixteenth of it. Groups of
            parameters keep their part of it under "part".
    """

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        convolutions = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d) and each.bias is None]
        chosen = {id(weight) for weight in convolutions}
        others = [weight for weight in network.parameters() if id(weight) not in chosen]
        groups = [{"params": convolutions, "part": 1.0}, {"params": others, "part": _OTHERS}]
        super().__init__([{**group, "lr": learning_rate * group["part"]} for group in groups], {})  # type: ignore[operator]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None
        convolutions, others = self.param_groups
        for weight in convolutions["params"]:
            if weight.grad is not None:
                self._turn(weight, weight.grad, convolutions["lr"])
        for weight in others["params"]:
            if weight.grad is not None:
                self._adam(weight, weight.grad, others["lr"])

    def _turn(self, weight: Tensor, gradient: Tensor, learning_rate: float) -> None:
        state = self.state[weight]
        momentum = state.setdefault("momentum", torch.zeros_like(weight))
        momentum.mul_(_MOMENTUM).add_(gradient)
        direction = orthogonal((gradient + _MOMENTUM * momentum).flatten(1)).view_as(weight)
        weight.mul_(len(weight) ** 0.5 / weight.norm()).sub_(direction, alpha=learning_rate)

    def _adam(self, weight: Tensor, gradient: Tensor, learning_rate: float) -> None:
        state = self.state[weight]
        if not state:
            state.update(step=torch.zeros(()), first=torch.zeros_like(weight), second=torch.zeros_like(weight))
        state["step"] += 1
        step = state["step"].item()
        first = state["first"].lerp_(gradient, 1 - _BETAS[0]) / (1 - _BETAS[0] ** step)
        second = state["second"].lerp_(gradient.square(), 1 - _BETAS[1]) / (1 - _BETAS[1] ** step)
        weight.sub_(first / (second.sqrt() + _EPS), alpha=learning_rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular vectors whose singular values, of any size but 0, are near 1.

    X <- a X + (b X X^T + c (X X^T)^2) X from X = matrix / ||matrix||, in bfloat16: what it is good for is a direction.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    turned: Tensor = (wide / (wide.norm() + 1e-7)).to(torch.bfloat16)
    for _ in range(_ITERATIONS):
        squares = turned @ turned.T
        turned = _A * turned + (_B * squares + _C * squares @ squares) @ turned
    turned = turned.T if matrix.shape[0] > matrix.shape[1] else turned
    return turned.to(matrix.dtype)
