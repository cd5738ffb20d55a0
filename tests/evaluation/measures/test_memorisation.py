"""Real images' own distances, and what the numbers are said to mean."""

from __future__ import annotations

import pytest
import torch

from mmd_ddm.evaluation.measures.memorisation import left_out_distances, told
from mmd_ddm.evaluation.measures.neighbours import NeighbourAUC


@pytest.mark.parametrize("count", [40, 39, 7])
def test_real_images_are_not_their_own_neighbours(count: int) -> None:
    real = torch.randn(40, 6, dtype=torch.float64)
    real[11] = real[5]  # a duplicate is another image
    squares = (real[:, None] - real[None]).square().sum(2).fill_diagonal_(torch.inf)
    expected = squares.min(1).values.sqrt()
    found = left_out_distances(real, count, seed=3)
    assert found.shape == (count,)
    places = [int((expected - each).abs().argmin()) for each in found]
    assert torch.allclose(found, expected[places], atol=1e-12)
    # mutual neighbours share a distance: no value comes more often than it is there
    for value in found:
        assert int((found - value).abs().lt(1e-9).sum()) <= int((expected - value).abs().lt(1e-9).sum())
    if count == 40:
        assert torch.allclose(found, expected, atol=1e-12)
    else:
        assert not torch.equal(found, left_out_distances(real, count, seed=4))


# the margin is 2 sqrt(2) standard errors
@pytest.mark.parametrize(
    ("probability", "error", "base", "said"),
    [
        (0.50, 0.01, {}, "no sign that training images are copied."),
        (0.525, 0.01, {}, "no sign that training images are copied."),
        (0.531, 0.01, {}, "overfits"),
        (0.30, 0.01, {5: 0.2}, "further from the real ones"),
        (0.60, 0.01, {}, "overfits"),
        (0.60, 0.01, {5: 0.7, 50: 0.5}, "overfits"),  # held against the best that the base model can do
        (0.60, 0.01, {5: 0.2, 50: 0.59}, "finetuning is not the cause"),
        (0.60, 0.01, {50: 0.7}, "finetuning is not the cause"),
        (0.99, 0.00, {50: 0.6}, "overfits"),
    ],
)
def test_the_sentence(probability: float, error: float, base: dict[int, float], said: str) -> None:
    sentence = told(
        NeighbourAUC(1.0, probability, error),
        {steps: NeighbourAUC(1.0, p, 0.01) for steps, p in base.items()},
        "a space",
    )
    assert said in sentence
    assert f"{100 * probability:.0f} ± {100 * error:.0f} % of pairs in a space" in sentence
    for steps, p in base.items():
        assert f"{100 * p:.0f} ± 1 % with {steps}" in sentence
