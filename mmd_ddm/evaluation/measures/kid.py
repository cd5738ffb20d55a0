"""Kernel Inception Distance (Binkowski et al. 2018) in any feature space: the estimator of the loss."""

from __future__ import annotations

from torch import Tensor

from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.discrepancy.mmd import MMD, Moments, mmd2_with_error
from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.evaluation.measures.kid_blocks import kid_in_blocks

ALL_PAIRS = 10_000  # images up to which every pair is computed


def kid(generated: Tensor, real: Vectors, within_real: Moments | None = None) -> MMD:
    """The unbiased MMD^2 with the cubic kernel (x.y/d + 1)^3 over all images at once.

    Up to 10 000 images on either side it is the full U-statistic in float64. With more on one side it is the estimate
    of `kid_blocks`: of the same expectation, from all pairs in the kernel's leading terms and from pairs within
    disjoint random blocks in the rest. Its blocks depend on N and M alone, so neither batches nor workers change it.

    torch-fidelity's value is the mean of the full statistic over 100 random subsets of 1000: equal in expectation, and
    equal to ours to 6 digits where the subset is everything. Its deviation is that of one subset; ours is the standard
    error of the value over fresh generated and real images.

    Features are (N, D) and (M, D), N and M at least 4; `within_real` is `within_moments` of the real ones with this
    kernel, where that is known already.
    """
    if max(len(generated), len(real)) > ALL_PAIRS:
        return kid_in_blocks(generated, real)
    return mmd2_with_error(generated.double(), real, Cubic(), within_real)
