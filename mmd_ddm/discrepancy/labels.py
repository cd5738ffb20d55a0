"""Class labels beside features, as their last column, so that a kernel can tell pairs (feature, label) apart.

MMD^2 of pairs with the product kernel k(x, x') [c = c'] is zero only where each class has its own distribution right
(Gretton et al. 2012, Theorem 5, for a characteristic k), which that of the features alone does not ask for. A column of
the features goes wherever they go, over workers and through files' rows, and has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmd_ddm.discrepancy.kernels import Kernel, SameClass, Scaled
from mmd_ddm.errors import UserError


def beside_labels(features: Float[Tensor, "N D"], labels: Int[Tensor, " N"]) -> Float[Tensor, "N D+1"]:
    """The features with their labels as the last column."""
    return torch.cat([features, labels[:, None].to(features)], dim=1)


def label_column(labels: Int[Tensor, " N"], dtype: torch.dtype) -> Float[Tensor, "N 1"]:
    """The labels of real images as a column in the precision of their features; UserError if it can't hold them all."""
    if int(labels.max()) > (most := int(2 / torch.finfo(dtype).eps)):
        name = str(dtype).removeprefix("torch.")
        raise UserError(f"bank_dtype is {name}, which tells {most} classes apart and no more; use float32")
    return labels[:, None].to(dtype)


def joint_kernel(kernel: Kernel, counts: Sequence[int]) -> Kernel:
    """The kernel k(x, x') [c = c'] / sum_c p_c^2 of pairs, p_c = M_c / M the shares of the classes in the data.

    Where generated labels have the shares of the data too, its MMD^2 is the mean of MMD^2 with k within the classes,
    weighted by p_c^2: as large as the one of the features alone, so that norms, clipping and figures compare.
    """
    total = sum(counts)
    return Scaled(total**2 / sum(count**2 for count in counts), SameClass(kernel))
