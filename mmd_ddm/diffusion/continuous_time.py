"""Timesteps between the whole ones: where a noise level lies in time, and what a network is told of it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def time_of(lam: Float[Tensor, " L"], alpha_bar: Float[Tensor, " T"]) -> Float[Tensor, " L"]:
    """Find the times of noise levels, by straight lines in lambda between the timesteps of a process.

    Args:
        lam: half the log-SNR, log(alpha_bar / (1 - alpha_bar)) / 2, float64.
        alpha_bar: of timesteps 0 ... T-1, decreasing, float64.

    Returns:
        From 0 to T-1, differentiable but at whole timesteps and outside of the process, where it stays at its end.
    """
    if len(alpha_bar) == 1:
        return torch.zeros_like(lam)
    known = torch.logit(alpha_bar) / 2
    after = torch.searchsorted(-known, -lam.detach()).clamp(1, len(known) - 1)
    share = (lam - known[after - 1]) / (known[after] - known[after - 1])
    return after - 1 + share.clamp(0, 1)


class InterpolatedEmbedding(nn.Embedding):
    """A table of time embeddings that has straight lines between its rows; its weights are those of `table`."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__(table.num_embeddings, table.embedding_dim, _weight=table.weight)
        self.requires_grad_(table.weight.requires_grad)

    def forward(self, times: Tensor) -> Tensor:
        """Embed times from 0 to T-1, whole or not."""
        if not times.is_floating_point():
            return super().forward(times)
        below = times.detach().floor().clamp(0, max(0, self.num_embeddings - 2)).long()
        above = (below + 1).clamp(max=self.num_embeddings - 1)
        share = (times - below)[:, None].to(self.weight.dtype)
        return torch.lerp(functional.embedding(below, self.weight), functional.embedding(above, self.weight), share)


def tell_between(network: nn.Module) -> None:
    """Let a network that has a table of time embeddings take times between its rows; others take them anyway."""
    table = getattr(network, "time_proj", None)
    if isinstance(table, nn.Embedding) and not isinstance(table, InterpolatedEmbedding):
        network.time_proj = InterpolatedEmbedding(table)
