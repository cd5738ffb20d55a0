"""A mixture's MMD^2 is the weighted sum of those in its spaces, and vectors may be kept in pieces."""

from __future__ import annotations

import pytest
import torch

from mmd_ddm.discrepancy.kernels import Cubic, Gaussian
from mmd_ddm.discrepancy.make_kernel import make_kernel
from mmd_ddm.discrepancy.mixture import KernelMixture, mixture_kernel
from mmd_ddm.discrepancy.mmd import mmd2
from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.discrepancy.vectors import Beside, Stacked

DIMS, WEIGHTS = (3, 5), (1.0, 0.25)


def parts(rows: int) -> list[torch.Tensor]:
    return [torch.randn(rows, dim, dtype=torch.float64) for dim in DIMS]


@pytest.mark.parametrize(
    "specification", ["cubic", "rbf:median", "cubic+rational_quadratic:0.3*median", "cubic+energy"]
)
def test_mmd_is_the_weighted_sum(specification: str) -> None:
    x, y, terms = parts(6), parts(9), parse_kernel(specification)
    mixture = mixture_kernel(terms, y, WEIGHTS)
    found = mmd2(torch.cat(x, 1), torch.cat(y, 1), mixture)
    # each bandwidth is resolved in its own space
    each = [float(mmd2(a, b, make_kernel(terms, b))) for a, b in zip(x, y, strict=True)]
    assert float(found) == pytest.approx(sum(w * value for w, value in zip(WEIGHTS, each, strict=True)), rel=1e-12)


def test_one_space_needs_no_mixture_but_keeps_its_weight() -> None:
    y, terms = parts(9)[:1], parse_kernel("cubic")
    assert mixture_kernel(terms, y, [1.0]) == Cubic()
    assert mixture_kernel(terms, y, [2.0]) == KernelMixture((2.0,), (3,), (Cubic(),))


def test_a_mixture_says_all_of_itself() -> None:
    """Its text is the key under which the mean among the real features is kept."""
    texts = {
        str(KernelMixture(weights, DIMS, kernels))
        for weights in (WEIGHTS, (1.0, 0.5))
        for kernels in ((Cubic(), Cubic()), (Cubic(), Gaussian(1.0)), (Cubic(), Gaussian(2.0)))
    }
    assert len(texts) == 6


def test_stacked_vectors_are_read_as_one() -> None:
    pieces = [torch.randn(rows, 3) for rows in (4, 1, 5)]
    whole, stacked = torch.cat(pieces), Stacked(pieces)
    assert len(stacked) == 10
    for start in range(11):
        for stop in range(start, 12):
            assert torch.equal(stacked[start:stop], whole[start:stop])
    chosen = torch.tensor([9, 0, 4, 4, 3, 7])
    assert torch.equal(stacked[chosen], whole[chosen])


def test_vectors_side_by_side_are_read_as_one() -> None:
    left, right = torch.randn(6, 2), torch.randn(6, 3).half()
    both = Beside([left, right])
    assert len(both) == 6
    expected = torch.cat([left, right.float()], 1)
    assert torch.equal(both[1:4], expected[1:4])
    assert torch.equal(both[torch.tensor([5, 0])], expected[torch.tensor([5, 0])])
