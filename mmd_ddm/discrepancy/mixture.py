"""A mixture of feature spaces: the weighted sum of the MMDs in each of them, as one kernel on features side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float
from torch import Tensor

from mmd_ddm.discrepancy.kernels import Kernel
from mmd_ddm.discrepancy.make_kernel import make_kernel
from mmd_ddm.discrepancy.specification import KernelTerm
from mmd_ddm.discrepancy.vectors import Vectors


@dataclass(frozen=True)
class KernelMixture:
    """k(x, y) = sum_i w_i k_i(x_i, y_i), where x_i are the D_i columns of x that belong to space i, and w_i > 0.

    MMD^2 is linear in the kernel, so that of this one is sum_i w_i MMD^2_i.
    """

    weights: tuple[float, ...]
    dims: tuple[int, ...]
    kernels: tuple[Kernel, ...]

    def __call__(self, x: Float[Tensor, "N D"], y: Float[Tensor, "M D"]) -> Float[Tensor, "N M"]:
        """The (N, M) block of x (N, sum D_i) and y (M, sum D_i)."""
        blocks = (kernel(a, b) for kernel, a, b in zip(self.kernels, self._columns(x), self._columns(y), strict=True))
        return reduce(torch.add, (weight * block for weight, block in zip(self.weights, blocks, strict=True)))

    def _columns(self, x: Tensor) -> Sequence[Tensor]:
        # contiguous, or each product of matrices would copy them again
        return [part.contiguous() for part in x.split(self.dims, dim=1)]


def mixture_kernel(terms: tuple[KernelTerm, ...], real: Sequence[Vectors], weights: Sequence[float]) -> Kernel:
    """Build the kernel of a parsed specification for one feature space or several.

    A relative bandwidth is resolved in each space by itself, on its real features (M, D_i). The weight of a single
    space matters too, as it scales the loss.
    """
    kernels = tuple(make_kernel(terms, features) for features in real)
    if len(kernels) == 1 and weights[0] == 1:
        return kernels[0]
    dims = tuple(features[0:1].shape[1] for features in real)
    return KernelMixture(tuple(weights), dims, kernels)
