import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mmd_ddm.features.trained.neighbours import neighbour_accuracy


@pytest.mark.parametrize("count", [600, 7])
def test_it_is_that_of_scikit_learn(count: int) -> None:
    torch.manual_seed(0)
    centres = torch.randn(4, 16)
    labels, asked_labels = torch.arange(count) % 4, torch.arange(530) % 4
    known = centres[labels] + 1.5 * torch.randn(count, 16)
    asked = centres[asked_labels] + 1.5 * torch.randn(530, 16)
    judge = KNeighborsClassifier(min(20, count), metric="cosine", algorithm="brute").fit(known.numpy(), labels.numpy())
    expected = judge.score(asked.numpy(), asked_labels.numpy())
    assert 0.2 < expected < 0.99
    found = neighbour_accuracy(known, labels, asked, asked_labels)
    assert found == pytest.approx(expected, abs=2 / 530)  # a neighbour in float32 may be another one
