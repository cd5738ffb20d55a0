"""The loss on pairs (feature, label): what it measures, by brute force and in expectation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmd_ddm.diffusion.labels import LabelSource
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic, Gaussian, Kernel, SameClass
from mmd_ddm.discrepancy.labels import beside_labels, joint_kernel, label_column
from mmd_ddm.discrepancy.mixture import KernelMixture
from mmd_ddm.discrepancy.mmd import mmd2
from mmd_ddm.discrepancy.vectors import Beside
from mmd_ddm.errors import UserError
from mmd_ddm.finetuning.objective import BankReference, Objective

COUNTS = 3, 5, 2


def labels_of(counts: tuple[int, ...]) -> Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def pair(x: Tensor, y: Tensor, kernel: Kernel) -> float:
    return float(kernel(x[None], y[None]))


@pytest.mark.parametrize(
    "kernel", [Cubic(), Gaussian(0.8), KernelMixture((1.0, 0.3), (1, 2), (Gaussian(1.0), Cubic()))]
)
def test_mmd_of_pairs_by_brute_force(kernel: Kernel) -> None:
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(10, 3, dtype=torch.float64)
    a, b = torch.tensor([1, 1, 0, 2, 1, 0]), labels_of(COUNTS)
    n, m, expected = len(x), len(y), 0.0
    for i in range(n):
        for j in range(n):
            expected += bool(i != j and a[i] == a[j]) * pair(x[i], x[j], kernel) / (n * (n - 1))
        for j in range(m):
            expected -= 2 * bool(a[i] == b[j]) * pair(x[i], y[j], kernel) / (n * m)
    for i in range(m):
        for j in range(m):
            expected += bool(i != j and b[i] == b[j]) * pair(y[i], y[j], kernel) / (m * (m - 1))
    expected *= 100 / (9 + 25 + 4)  # one over the sum of squared shares
    found = mmd2(beside_labels(x, a), beside_labels(y, b), joint_kernel(kernel, COUNTS))
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_one_class_is_no_class() -> None:
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    zeros = torch.zeros(12, dtype=torch.int64)
    found = mmd2(beside_labels(x, zeros[:5]), beside_labels(y, zeros[:7]), joint_kernel(Cubic(), (7,)))
    assert float(found) == pytest.approx(float(mmd2(x, y, Cubic())), rel=1e-14)


def test_swapped_classes_are_seen_by_pairs_alone() -> None:
    """The images of both sides are the same set; of the generated ones each has the other's label."""
    y = torch.randn(40, 2, dtype=torch.float64) + 4 * labels_of((20, 20))[:, None]
    kernel = Gaussian(1.0)
    swapped = mmd2(beside_labels(y, 1 - labels_of((20, 20))), beside_labels(y, labels_of((20, 20))),
                   joint_kernel(kernel, (20, 20)))  # fmt: skip
    assert float(mmd2(y, y, kernel)) < 0  # the unbiased estimate of sets that coincide
    # between the classes k is exp(-16) at most on average; what is left are both sides' means within the classes
    within = sum(float(kernel(part, part).sum() - 20) / (20 * 19) for part in y.split(20)) / 2
    assert float(swapped) == pytest.approx(2 * within * 19 / 39 * 40 / 20, rel=0.05)


def test_estimate_is_unbiased() -> None:
    """Of 150 batches with labels from `LabelSource`: classes normal around other means than the real ones.

    With k(x, y) = x y the mean of class c is all that counts: MMD^2 = sum_c p_c^2 (mu_c - nu_c)^2 / sum_c p_c^2.
    """

    class Product:
        def __call__(self, x: Tensor, y: Tensor) -> Tensor:
            return x @ y.T

    generated, real = torch.tensor([0.5, -1.0, 2.0]).double(), torch.tensor([0.0, 1.0, 1.5]).double()
    counts, kernel = torch.tensor(COUNTS), joint_kernel(Product(), COUNTS)
    # a bank without spread: so its means are known, and nothing but generated images is random
    bank = Bank(beside_labels(real.repeat_interleave(counts)[:, None], labels_of(COUNTS)))
    like = torch.empty(0, 2, dtype=torch.float64)
    objective = Objective(kernel, BankReference(bank, kernel, SingleCollective(), like), SingleCollective())
    found, source = [], LabelSource(0, "test", COUNTS)
    for update in range(150):
        labels = source.draw(update, range(16))
        x = generated[labels] + 0.3 * torch.randn(16, dtype=torch.float64)
        found.append(float(objective(beside_labels(x[:, None], labels), update).value))
    shares = counts.double() / counts.sum()
    within = objective.reference.at(0).within_mean  # pairs of different real images, so not the squares of all means
    pairs = float((shares.square() * real.square()).sum() / shares.square().sum())
    expected = float((shares.square() * (generated - real).square()).sum() / shares.square().sum())
    error = torch.tensor(found).std() / math.sqrt(len(found))
    assert abs(float(torch.tensor(found).mean()) - (expected - pairs + float(within))) < 4 * error
    assert float(error) < 0.1 * expected  # so the test can fail


def test_gradient_on_labels_is_zero_and_that_on_features_by_differences() -> None:
    x, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 2, 0])
    bank = Bank(beside_labels(torch.randn(10, 3, dtype=torch.float64), labels_of(COUNTS)))
    kernel = joint_kernel(Gaussian(1.0), COUNTS)
    reference = BankReference(bank, kernel, SingleCollective(), torch.empty(0, 4, dtype=torch.float64))
    objective = Objective(kernel, reference, SingleCollective())
    gradient = objective(beside_labels(x, labels), 0).gradient
    assert torch.equal(gradient[:, 3], torch.zeros(5, dtype=torch.float64))
    step, direction = 1e-5, torch.randn(5, 3, dtype=torch.float64)
    ends = [float(objective(beside_labels(x + sign * step * direction, labels), 0).value) for sign in (1, -1)]
    # central differences: an error of order step^2, and roundings of 1e-16 / step
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(float((gradient[:, :3] * direction).sum()), rel=1e-7)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 2048), (torch.float32, 2**24)])
def test_labels_that_a_precision_cannot_tell_apart_are_refused(dtype: torch.dtype, most: int) -> None:
    column = label_column(torch.tensor([0, most - 1, most]), dtype)
    assert column.double().flatten().tolist() == [0, most - 1, most]
    assert float(torch.tensor(most + 1).to(dtype)) != most + 1  # the reason
    with pytest.raises(UserError, match="bank_dtype"):
        label_column(torch.tensor([most + 1]), dtype)


def test_labels_stand_beside_features_wherever_these_are_kept() -> None:
    features, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    rows = Beside([features, label_column(labels, features.dtype)])
    assert torch.equal(rows[1:3], beside_labels(features, labels)[1:3])
    kernel = SameClass(Cubic())
    assert torch.equal(kernel(rows[0:4], rows[0:4]) != 0, labels[:, None] == labels)
