"""Labels by position, as often as in the data."""

from __future__ import annotations

import torch

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.labels import LabelSource, count_classes, labels_in_turn

COUNTS = 50, 0, 30, 120


def test_each_class_comes_as_often_as_in_the_data() -> None:
    n = 4000
    found = torch.bincount(LabelSource(0, "evaluation", COUNTS).draw(0, range(n)), minlength=4)
    assert found[1] == 0
    expected = n * torch.tensor(COUNTS).double() / sum(COUNTS)
    kept = expected > 0
    statistic = ((found - expected)[kept].square() / expected[kept]).sum()
    assert float(statistic) < 13.8  # chi-square of 2 degrees of freedom: exceeded by one in 1000


def test_neighbours_and_updates_are_independent() -> None:
    """Pairs of labels of positions i and i + 1, and of one position in two updates, in their table of 9 cells."""
    source, n = LabelSource(1, "training", COUNTS), 4000
    here, later = source.draw(3, range(n)), source.draw(4, range(n))
    shares = torch.tensor(COUNTS)[[0, 2, 3]].double() / sum(COUNTS)
    places = torch.tensor([0, -1, 1, 2])
    for a, b in ((here[:-1], here[1:]), (here, later)):
        table = torch.bincount(3 * places[a] + places[b], minlength=9)
        expected = len(a) * torch.outer(shares, shares).flatten()
        # 8 degrees of freedom: exceeded by one in 1000
        assert float(((table - expected).square() / expected).sum()) < 26.1


def test_labels_depend_on_seed_stream_and_position_alone() -> None:
    source = LabelSource(5, "training", (1,) * 100)
    all_ = source.draw(7, range(40))
    assert torch.equal(torch.cat([source.draw(7, range(3)), source.draw(7, range(3, 40))]), all_)
    assert all_.dtype == torch.int64
    others = (
        LabelSource(6, "training", (1,) * 100).draw(7, range(40)),
        LabelSource(5, "evaluation", (1,) * 100).draw(7, range(40)),
        source.draw(8, range(40)),
    )
    for other in others:  # of 40 pairs 0.4 agree by chance
        assert int((other == all_).sum()) < 6
    assert len(source.draw(7, range(0))) == 0


def test_start_is_split_with_its_labels() -> None:
    start = Start(torch.arange(2 * 5 * 3).view(2, 5, 3, 1, 1), torch.arange(5))
    parts = start.split(2)
    assert [part.images for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.noise for part in parts], dim=1), start.noise)
    assert [part.labels.tolist() for part in parts if part.labels is not None] == [[0, 1], [2, 3], [4]]
    assert [part.labels for part in Start(start.noise).split([4, 1])] == [None, None]


def test_in_turn_and_counted() -> None:
    labels = labels_in_turn(3, 7)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert count_classes(labels) == (3, 2, 2)
    assert labels_in_turn(None, 7) is None
