"""Updates of the paper's sizes: CIFAR-10's U-Net of 35.7 million weights, LSUN-Church's of 113.7, Inception-V3."""

from __future__ import annotations

import pytest

from tests.benchmarks.real_size import BATCH, WAYS, show_size

pytestmark = pytest.mark.benchmark


@pytest.mark.gpu
@pytest.mark.parametrize("name", BATCH)
def test_update_of_the_papers_size(name: str) -> None:
    show_size(name, list(WAYS), batch=BATCH[name], steps=5, real=50_000, updates=5, side=8192)


@pytest.mark.slow
def test_update_of_cifar10s_size_on_the_cpu() -> None:
    show_size("cifar10", ["fp32", "bf16"], batch=2, steps=2, real=1000, updates=3, side=1024)
