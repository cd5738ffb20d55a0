"""Kernel Inception Distance (Binkowski et al. 2018) in any feature space: the estimator of the loss, all images."""

from __future__ import annotations

from torch import Tensor

from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.discrepancy.mmd import MMD, mmd2_with_error


def kid(generated: Tensor, real: Tensor) -> MMD:
    """The unbiased MMD^2 with the cubic kernel (x.y/d + 1)^3 over all images at once, in float64.

    torch-fidelity's value is the mean of the same statistic over random subsets: equal in expectation, and equal to
    this one where the subset is everything; this one has no subset noise, and its error is a standard error.

    Args:
        generated: (N, D) features, N at least 4.
        real: (M, D) features, M at least 4.

    Returns:
        KID and its standard error.
    """
    return mmd2_with_error(generated.double(), real.double(), Cubic())
