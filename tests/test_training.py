import logging
import math

import pytest
import torch
from torch import nn

from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.progress import progress
from mmd_ddm.training import seeded, train


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))


def test_two_updates_by_hand() -> None:
    # loss = place. Adam's step is the learning rate (1 - 1e-8 or so) while the gradient stays 1:
    # rates 0.5 (1 + cos 0) = 1 and 0.5 (1 + cos(pi / 2)) = 0.5 of 0.1, so 3 -> 2.9 -> 2.85.
    # average, decay min(0.9, 1/10) then min(0.9, 2/11): 3 -> 2.91 -> 2.85 + 2/11 * 0.06
    point = Point()
    running = train(point, lambda: point.place.sum(), stage="test", updates=2, learning_rate=0.1, ema=0.9)
    assert point.place.item() == pytest.approx(2.85 + 2 / 11 * 0.06, abs=1e-7)
    assert running == pytest.approx(3 + 0.01 * (2.9 - 3), abs=1e-7)


def test_groups_of_an_optimizer_keep_their_part_of_the_rate() -> None:
    # plain descent on a sum: each weight falls by the rates of both updates, 0.1 and 0.05, times its group's part
    points = nn.ModuleList([Point(), Point()])
    first, second = points.parameters()
    groups = [{"params": [first]}, {"params": [second], "part": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=0.1)

    def loss() -> torch.Tensor:
        return (first + second).sum()

    train(points, loss, stage="test", updates=2, learning_rate=0.1, ema=0.0, optimizer=optimizer)
    assert first.item() == pytest.approx(3 - 0.15, abs=1e-7)
    assert second.item() == pytest.approx(3 - 0.075, abs=1e-7)


def test_without_average_the_last_weights_stay() -> None:
    point = Point()
    train(point, lambda: point.place.sum(), stage="test", updates=2, learning_rate=0.1, ema=0.0)
    assert point.place.item() == pytest.approx(2.85, abs=1e-7)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_names_the_update(bad: float) -> None:
    point = Point()
    factors = iter([1.0, bad, 1.0])
    with pytest.raises(DivergenceError, match="update 1"):
        train(
            point,
            lambda: point.place.sum() * next(factors),
            stage="test",
            updates=3,
            learning_rate=0.1,
            ema=0.9,
        )


@pytest.mark.parametrize("setting", [{"updates": 0}, {"learning_rate": -1.0}, {"ema": 1.0}, {"ema": -0.1}])
def test_wrong_settings_are_named(setting: dict[str, float]) -> None:
    usual = {"updates": 1, "learning_rate": 0.1, "ema": 0.9}
    with pytest.raises(UserError, match=next(iter(setting))):
        train(Point(), lambda: torch.zeros(()), stage="test", **{**usual, **setting})


def test_seeded_draws_repeat_and_leave_no_trace() -> None:
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (5, 5, 6):
        with seeded(seed, "cpu"):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("total", "lines"), [(3, 3), (20, 20), (1000, 20)])
def test_progress_logs_where_there_is_no_terminal(total: int, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mmd_ddm.progress"), progress("Counting", total) as advance:
        for part in range(total):
            advance(f"part {part}")
    assert len(caplog.messages) == lines
    assert caplog.messages[-1].startswith(f"Counting {total}/{total} part {total - 1}, 0 s left")
