"""What the layers of the published networks compute, by their names."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from tests.pretrained.originals.structure import Weights


class Layers:
    def __init__(self, weights: Weights, epsilon: float) -> None:
        self.weights, self.epsilon = weights, epsilon

    def has(self, name: str) -> bool:
        return f"{name}.weight" in self.weights

    def _of(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
        return functional.conv2d(x, *self._of(name), stride=stride, padding=padding)

    def point(self, name: str, x: Tensor) -> Tensor:
        """A convolution with a kernel of 1 on (N, C, positions)."""
        weight, bias = self._of(name)
        return torch.einsum("oc,ncp->nop", weight.flatten(1), x) + bias[:, None]

    def linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._of(name)
        return x @ weight.T + bias

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self._of(name)
        groups = x.unflatten(1, (32, -1)).flatten(2)
        scaled = (groups - groups.mean(2, keepdim=True)) / (
            groups.var(2, correction=0, keepdim=True) + self.epsilon
        ).sqrt()
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        return scaled.view_as(x) * weight.view(shape) + bias.view(shape)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("ncp,ncs->nps", q, k) / math.sqrt(q.shape[1])
    return torch.einsum("nps,ncs->ncp", scores.softmax(2), v)
