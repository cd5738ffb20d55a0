"""KID of many images against the full statistic, its spread over blocks and over fresh images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import mmd_ddm.evaluation.measures.kid as kid_module
import mmd_ddm.evaluation.measures.kid_blocks as blocks_module
import mmd_ddm.evaluation.reference as reference_module
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.discrepancy.mmd import mmd2_with_error
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.evaluation.measures.kid_blocks import block_count, kid_in_blocks
from mmd_ddm.evaluation.reference import RealSide


def features(count: int, dim: int, shift: float = 0.0, seed: int = 0) -> Tensor:
    """Nonnegative, correlated and far from zero, as those of Inception are."""
    mixing = torch.randn(8, dim, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, 8, generator=generator) + shift
    return torch.nn.functional.softplus(hidden @ mixing / 2 + torch.randn(count, dim, generator=generator) / 2)


def full(x: Tensor, y: Tensor) -> tuple[float, float]:
    return mmd2_with_error(x.double(), y, Cubic())


@pytest.mark.parametrize(("n", "m"), [(1500, 1500), (1100, 300), (4, 900)])
def test_one_block_is_the_full_statistic_to_float32(n: int, m: int) -> None:
    """Every pair is in the block, so only rounding differs: less than a hundredth of the error where P = Q."""
    x, y = features(n, 200, seed=2), features(m, 200, seed=3)
    value, error = full(x, y)
    found = kid_in_blocks(x, y)
    assert block_count(n, n) == block_count(m, m) == block_count(n, m) == 1
    assert abs(found.mmd2 - value) < error / 100
    assert abs(found.mmd2 - value) < 1e-6 * float(Cubic()(y.double(), y.double()).mean())
    assert found.standard_error == pytest.approx(error, rel=2 / (min(n, m) - 2))


@pytest.mark.parametrize(("n", "m"), [(130, 130), (64, 203)])
def test_mean_over_orders_is_the_full_statistic(n: int, m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "PAIRS", 2000)
    x, y = features(n, 6, 0.1, seed=2), features(m, 6, seed=3)
    found = []
    for repetition in range(100):
        generator = torch.Generator().manual_seed(repetition)
        monkeypatch.setattr(
            blocks_module, "_order", lambda count, side, g=generator: torch.randperm(count, generator=g)
        )
        found.append(kid_in_blocks(x, y).mmd2)
    values = torch.tensor(found, dtype=torch.float64)
    error = float(values.std()) / math.sqrt(len(values))
    assert error > 0
    assert abs(float(values.mean()) - full(x, y)[0]) < 4 * error


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_standard_error_is_the_spread_over_fresh_images(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "PAIRS", 12_000)
    n, m, repetitions = 320, 480, 100
    assert [block_count(*sides) for sides in ((n, n), (m, m), (n, m))] == [16, 32, 16]
    found = [
        kid_in_blocks(features(n, 6, shift, seed=10 + 2 * i), features(m, 6, seed=11 + 2 * i))
        for i in range(repetitions)
    ]
    values, errors = torch.tensor(found, dtype=torch.float64).T
    # a deviation from 100 values of these tails is known to about 10 %
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.3)
    mean, spread = float(values.mean()), float(values.std()) / math.sqrt(repetitions)
    expected = torch.tensor(
        [full(features(n, 6, shift, 10 + 2 * i), features(m, 6, 0, 11 + 2 * i))[0] for i in range(30)]
    )
    assert abs(mean - float(expected.mean())) < 4 * math.hypot(spread, float(expected.std()) / math.sqrt(30))


def test_leading_terms_come_from_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few images change the value by far less than taking all of the kernel within them would."""
    x, y = features(1000, 100, seed=2), features(1000, 100, seed=3)
    monkeypatch.setattr(blocks_module, "PAIRS", 32_000)
    order = blocks_module._order
    (blocks,) = {block_count(1000, 1000)}
    parts = zip(*(order(1000, side).chunk(blocks) for side in (0, 1)), strict=True)
    plain = sum(full(x[a], y[b])[0] for a, b in parts) / blocks
    assert abs(kid_in_blocks(x, y).mmd2 - full(x, y)[0]) < abs(plain - full(x, y)[0]) / 5


def test_block_counts() -> None:
    assert block_count(5000, 5000) == 1
    assert block_count(50_000, 50_000) == 128  # 2.5e9 / 2^7 is the first below 2.5e7
    assert block_count(1_281_167, 50_000) == 4096
    assert block_count(4, 10**9) == 1  # at least 4 in each


def test_kid_takes_all_pairs_up_to_ten_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kid_module, reference_module):
        monkeypatch.setattr(module, "ALL_PAIRS", 200)
    x, y = features(200, 20, seed=2), features(200, 20, seed=3)
    known = RealSide(Bank(y), y.device).moments
    assert known is not None
    assert kid(x, y) == kid(x, y, known) == full(x, y)
    more = features(201, 20, seed=3)
    assert RealSide(Bank(more), y.device).moments is None
    assert kid(x, more) == kid_in_blocks(x, more) == kid(x.double(), more.double())
