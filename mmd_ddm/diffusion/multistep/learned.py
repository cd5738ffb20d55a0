"""A chain whose noise levels, coefficients and told times are parameters, and begin as a published solver's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmd_ddm.diffusion.chain import Chain, State
from mmd_ddm.diffusion.continuous_time import time_of
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.multistep.linear_multistep import LinearMultistep
from mmd_ddm.diffusion.multistep.methods import Method
from mmd_ddm.diffusion.multistep.terms import IMAGE, Row, Terms

BEYOND = 1.0  # in lambda


class Stage(NamedTuple):
    """A learned sampler as it is now, differentiable in its parameters."""

    solver: LinearMultistep
    times: Tensor  # (L,) float64: what the network is told at each level, decreasing


class LearnedSampler(nn.Module):
    """The parameters of a sampler, all zero where it is the method itself.

    * `levels`: lambda_k = first + (last - first) sum_{j <= k} w_j / sum_j w_j, w_j = gap_j exp(levels_j), where gap_j
      lies between the neighbours j - 1 and j of first, lambda_0 ... lambda_{L-1}, last: so that they stay in their
      order, and between the ends of the model's process and `BEYOND` further on both sides.
    * `corrections`: each nonzero coefficient c of the method's table for those levels becomes c (1 + correction).
    * `offsets`: the network is told t(lambda_k) + offset_k h, with offset_k clamped to [-1, 1] and h half the
      smallest gap between the times, so that they keep their order too.

    Args:
        method: whose table it is.
        alpha_bar: (T,) float64, of the model.
        begun: (L,) float64, alpha_bar of the levels that it begins at, increasing.
    """

    def __init__(self, method: Method, alpha_bar: Tensor, begun: Tensor) -> None:
        super().__init__()
        self._method, self._process = method, alpha_bar.detach().cpu()
        known = torch.logit(self._process) / 2
        self._ends = known[-1:] - BEYOND, known[:1] + BEYOND
        self._gaps = torch.cat([self._ends[0], torch.logit(begun) / 2, self._ends[1]]).diff()
        solver = method.solver(begun)
        self._places = [
            (list(row.image), list(row.base) if based and not _is_image(row.base) else [])
            for row, (based, _) in zip(solver.rows, solver.remembered, strict=True)
        ]
        self.levels = nn.Parameter(torch.zeros(len(begun) + 1))
        self.offsets = nn.Parameter(torch.zeros(len(begun)))
        self.corrections = nn.Parameter(torch.zeros(sum(len(image) + len(base) for image, base in self._places)))

    def stage(self) -> Stage:
        """Work out the sampler in float64."""
        levels, offsets, corrections = (each.cpu().double() for each in (self.levels, self.offsets, self.corrections))
        weights, (first, last) = self._gaps * levels.exp(), self._ends
        lam = first + (last - first) * weights.cumsum(0)[:-1] / weights.sum()
        alpha_bar = torch.sigmoid(2 * lam)
        plain = self._method.solver(alpha_bar)
        factors, rows = iter((1 + corrections).unbind()), []
        for row, (image, base) in zip(plain.rows, self._places, strict=True):
            changed = ({i: c * next(factors) if i in places else c for i, c in terms.items()}
                       for terms, places in ((row.image, image), (row.base, base)))  # fmt: skip
            rows.append(Row(row.level, *changed))
        return Stage(LinearMultistep(tuple(rows), alpha_bar, plain.predicts), self._told(lam, offsets))

    def _told(self, lam: Float[Tensor, " L"], offsets: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        length = len(self._process)
        times = time_of(lam, self._process)
        half = (-times.diff()).min() / 2 if len(times) > 1 else length / 2
        return (times + half * offsets.clamp(-1, 1)).clamp(0, length - 1)


def _is_image(terms: Terms) -> bool:
    return list(terms) == [IMAGE] and float(terms[IMAGE]) == 1


@dataclass(frozen=True)
class LearnedChain(Chain):
    """A chain that follows a learned sampler; its solver and timesteps are those that the sampler began as."""

    learned: LearnedSampler
    stage: Stage | None = None  # at which its parameters are; None: to be worked out

    def settled(self) -> LearnedChain:
        """The chain at the stage at which its parameters are, unless a gradient on them is kept: replay goes by steps.

        The stage takes as long as some solver steps, or waits for a GPU.
        """
        return self if torch.is_grad_enabled() else replace(self, stage=self.learned.stage())

    def step(self, denoiser: Denoiser, state: State, k: int, noise: Float[Tensor, "draws N C H W"]) -> State:
        """Go the k-th step down, differentiable in the sampler's parameters too."""
        solver, times = self.stage or self.learned.stage()
        level = solver.rows[k].level
        predicted = denoiser.predict(
            state.image, times[level], solver.alpha_bar[level], state.labels, self.guidance_scale
        )
        return solver.step(state, predicted, k, None)._replace(labels=state.labels)
