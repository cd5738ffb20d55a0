"""FID and KID of 50 000 x 2048 features beside torch-fidelity's, as ratios measured side by side."""

from __future__ import annotations

import math
import statistics
from functools import partial

import pytest
import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric

import mmd_ddm.evaluation.measures.kid_blocks as blocks_module
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.discrepancy.mmd import mmd2_with_error
from mmd_ddm.evaluation.measures.fid import fid
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.evaluation.measures.kid_blocks import kid_in_blocks
from tests.benchmarks.table import interleaved, ratio, show

REPETITIONS = 3
FACTORS = 64


def factor_model(count: int, dim: int, shift: float, seed: int) -> Tensor:
    """Nonnegative features of `FACTORS` factors of falling strength and noise, so that covariances are of full rank."""
    loadings = torch.randn(FACTORS, dim, generator=torch.Generator().manual_seed(1)) / 8
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(count, FACTORS, generator=generator) * torch.linspace(1, 0.05, FACTORS) + shift
    noise = 0.3 * torch.randn(count, dim, generator=generator)
    return torch.nn.functional.softplus(factors @ loadings + noise - 0.5)


def theirs_fid(x: Tensor, y: Tensor) -> float:
    both = [fid_features_to_statistics(side) for side in (x, y)]
    return float(fid_statistics_to_metric(*both, verbose=False)["frechet_inception_distance"])


def theirs_kid(x: Tensor, y: Tensor, subsets: int = 100, size: int = 1000) -> float:
    found = kid_features_to_metric(x, y, kid_subsets=subsets, kid_subset_size=size, verbose=False)
    return float(found["kernel_inception_distance_mean"])


def seconds_and_values(count: int, dim: int, repetitions: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Processor seconds of each score, by who computes it, and the scores."""
    x, y = factor_model(count, dim, 0.02, 2), factor_model(count, dim, 0, 3)
    scores = {
        "FID, torch-fidelity": lambda: theirs_fid(x, y),
        "FID, ours": lambda: fid(x, y),
        "KID, torch-fidelity": lambda: theirs_kid(x, y, size=min(1000, count)),
        "KID, ours": lambda: kid(x, y).mmd2,
    }
    values: dict[str, float] = {}

    def measured(name: str) -> None:
        values[name] = scores[name]()

    return interleaved({name: partial(measured, name) for name in scores}, repetitions), values


@pytest.mark.slow
@pytest.mark.benchmark
def test_time_of_fifty_thousand() -> None:
    seconds, values = seconds_and_values(50_000, 2048, REPETITIONS)
    of_fid = ratio(seconds, "FID, ours", "FID, torch-fidelity")
    of_kid = ratio(seconds, "KID, ours", "KID, torch-fidelity")
    show(
        f"processor time, 50 000 against 50 000 x 2048: medians of {REPETITIONS} interleaved rounds",
        [["", "s"], *([name, statistics.median(each)] for name, each in seconds.items())],
    )
    show("ratios (bar 1.0)", [["FID", of_fid], ["KID", of_kid]])
    show("values", [[name, f"{value:.8g}"] for name, value in values.items()])
    assert of_fid <= 1
    assert of_kid <= 1
    assert values["FID, ours"] == pytest.approx(values["FID, torch-fidelity"], rel=1e-4)  # their sums are float32


def kid_over_fresh_images(
    shift: float, monkeypatch: pytest.MonkeyPatch, *, draws: int, n: int, dim: int, subsets: int, size: int
) -> dict[str, list[float]]:
    """KID by subsets, by blocks and of all pairs; the blocks have a fourth of the subsets' pairs, as at 50 000."""
    monkeypatch.setattr(blocks_module, "PAIRS", subsets * size**2 // 4)
    values: dict[str, list[float]] = {"subsets": [], "blocks": [], "full": []}
    for draw in range(draws):
        x, y = factor_model(n, dim, shift, 100 + 2 * draw), factor_model(n, dim, 0, 101 + 2 * draw)
        values["subsets"].append(theirs_kid(x, y, subsets, size))
        values["blocks"].append(kid_in_blocks(x, y).mmd2)
        if draw % 5 == 0:
            values["full"].append(mmd2_with_error(x.double(), y.double(), Cubic()).mmd2)
    return values


@pytest.mark.slow
@pytest.mark.benchmark
@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_spread_over_fresh_images_beside_subsets(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 4000 images the subsets have 0.04 of all pairs."""
    draws = 150
    values = kid_over_fresh_images(shift, monkeypatch, draws=draws, n=4000, dim=128, subsets=10, size=250)
    rows = [[name, f"{statistics.fmean(v):.3e}", f"{statistics.stdev(v):.2e}"] for name, v in values.items()]
    show(f"KID over fresh images, shift {shift}", [["", "mean", "deviation"], *rows])
    # the ratio of two deviations of 150 values is known to 1 / sqrt(150) = 8 %
    assert statistics.stdev(values["blocks"]) <= 1.15 * statistics.stdev(values["subsets"])
    gap = statistics.fmean(values["blocks"]) - statistics.fmean(values["subsets"])
    error = math.hypot(*(statistics.stdev(values[name]) / math.sqrt(draws) for name in ("blocks", "subsets")))
    assert abs(gap) < 4 * error
