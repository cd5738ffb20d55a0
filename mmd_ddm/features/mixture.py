"""Several feature spaces at once: their features side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmd_ddm.features.published.inception import in_one_pass
from mmd_ddm.features.space import FeatureSpace


class FeatureMixture(nn.Module):
    """Feature spaces side by side, in as few passes as possible: layers of one Inception network share one."""

    def __init__(self, spaces: Sequence[FeatureSpace]) -> None:
        super().__init__()
        self.names = tuple(space.name for space in spaces)
        self.dims = tuple(space.dim for space in spaces)
        self.spaces = nn.ModuleList(spaces)
        self._passes = _passes(spaces)
        self.eval()

    def train(self, mode: bool = True) -> FeatureMixture:
        """Stay in evaluation mode, whatever the mode asked for: a feature space never changes."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the N x sum(dims) features of N x C x H x W images in [-1, 1], space after space."""
        parts: dict[int, Tensor] = {}
        for network, members in self._passes:
            found = network(images).split([self.dims[member] for member in members], dim=1)
            parts.update(zip(members, found, strict=True))
        return torch.cat([parts[member] for member in range(len(self.dims))], dim=1)

    def split(self, features: Tensor) -> tuple[Tensor, ...]:
        """Cut features into those of each space, N x dims[i]; views of the same memory."""
        parts: tuple[Tensor, ...] = features.split(list(self.dims), dim=1)
        return parts


def _passes(spaces: Sequence[FeatureSpace]) -> list[tuple[nn.Module, list[int]]]:
    groups: list[list[int]] = []
    for index, space in enumerate(spaces):
        fitting = (group for group in groups if in_one_pass([spaces[group[0]].network, space.network]))
        if (group := next(fitting, None)) is None:
            groups.append([index])
        else:
            group.append(index)
    # a single network keeps its scale; those of published spaces, which alone can be joined, are 1
    joined = (in_one_pass([spaces[index].network for index in group]) if len(group) > 1 else None for group in groups)
    return [(network or spaces[group[0]], group) for network, group in zip(joined, groups, strict=True)]
