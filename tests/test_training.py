import json
import logging
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from mmd_ddm import progress as progress_module
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.progress import progress
from mmd_ddm.saved_state import RECORD, TENSORS
from mmd_ddm.training import Inspection, Optimization, milestones, seeded, train
from mmd_ddm.training_state import Keeper


class Point(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))


def test_two_updates_by_hand() -> None:
    # loss = place. Adam's step is the learning rate (1 - 1e-8 or so) while the gradient stays 1:
    # rates 0.5 (1 + cos 0) = 1 and 0.5 (1 + cos(pi / 2)) = 0.5 of 0.1, so 3 -> 2.9 -> 2.85.
    # average, decay min(0.9, 1/10) then min(0.9, 2/11): 3 -> 2.91 -> 2.85 + 2/11 * 0.06
    point = Point()
    running = train(point, lambda: point.place.sum(), Optimization(2, 0.1, 0.9), stage="test")
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

    train(points, loss, Optimization(2, 0.1, 0.0), stage="test", optimizer=optimizer)
    assert first.item() == pytest.approx(3 - 0.15, abs=1e-7)
    assert second.item() == pytest.approx(3 - 0.075, abs=1e-7)


def test_without_average_the_last_weights_stay() -> None:
    point = Point()
    train(point, lambda: point.place.sum(), Optimization(2, 0.1, 0.0), stage="test")
    assert point.place.item() == pytest.approx(2.85, abs=1e-7)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_divergence_names_the_update(bad: float) -> None:
    point = Point()
    factors = iter([1.0, bad, 1.0])
    with pytest.raises(DivergenceError, match="update 1"):
        train(
            point,
            lambda: point.place.sum() * next(factors),
            Optimization(3, 0.1, 0.9),
            stage="test",
        )


@pytest.mark.parametrize("setting", [{"updates": 0}, {"learning_rate": -1.0}, {"ema": 1.0}, {"ema": -0.1}])
def test_wrong_settings_are_named(setting: dict[str, float]) -> None:
    usual = {"updates": 1, "learning_rate": 0.1, "ema": 0.9}
    with pytest.raises(UserError, match=next(iter(setting))):
        Optimization(**{**usual, **setting})


def test_seeded_draws_repeat_and_leave_no_trace() -> None:
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (5, 5, 6):
        with seeded(seed, "cpu"):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("total", "seconds", "at"),
    [(3, 20, [1, 2, 3]), (3, 5, [2, 3]), (20, 1, [10, 20]), (1000, 1, list(range(50, 1001, 50))), (5, 1, [])],
)
def test_progress_logs_where_there_is_no_terminal(
    total: int, seconds: float, at: list[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("mmd_ddm.progress.time", clock)
    with caplog.at_level(logging.INFO, "mmd_ddm.progress"), progress("Counting", total) as advance:
        for part in range(total):
            clock.now += seconds
            advance(f"part {part}")
    assert caplog.messages == [
        f"Counting {done}/{total} part {done - 1}, {seconds * (total - done)} s left" for done in at
    ]


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_a_stage_within_another_has_its_bar_below_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with progress("outer", 2) as outer:
        block = progress_module._shown[0]
        with progress("inner", 3, done=1) as inner:
            inner("now")
            assert [(task.description, task.completed) for task in block.tasks] == [("outer", 0), ("inner now", 2)]
        outer("then")
        assert [(task.description, task.completed) for task in block.tasks] == [("outer then", 1)]
    assert not progress_module._shown


def test_learning_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    recipe = Optimization(updates=14, learning_rate=0.8, ema=0.0, warmup=4)
    assert [recipe.rate(update) for update in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    # ten updates remain: the cosine is 1 at their first, 0 at their sixth
    assert recipe.rate(4) == pytest.approx(0.8)
    assert recipe.rate(9) == pytest.approx(0.4)


def test_a_long_gradient_is_cut_to_the_norm() -> None:
    # plain Adam forgets the length of a gradient; its second moment does not: (1 - 0.999) 0.5^2 after one update
    point, seen = Point(), []
    point.place.register_post_accumulate_grad_hook(lambda place: seen.append(place.grad))
    train(point, lambda: 3 * point.place.sum(), Optimization(1, 0.1, 0.0, clip=0.5), stage="test")
    assert seen[0].item() == pytest.approx(0.5, abs=1e-6)  # clip_grad_norm_ adds 1e-6 to the norm


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.loss_types = nn.Linear(16, 4), set[torch.dtype]()

    def forward(self) -> torch.Tensor:
        found = self.layer(torch.randn(8, 16))
        self.loss_types.add(found.dtype)
        return found.float().square().mean()


@pytest.mark.parametrize(("precision", "inside"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_only_the_inside_is_bfloat16(precision: str, inside: torch.dtype) -> None:
    network = Layer()
    train(network, network, Optimization(2, 0.1, 0.5, precision=precision), stage="test")
    assert network.loss_types == {inside}
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_an_inspection_sees_the_average_and_changes_nothing() -> None:
    ends, seen = [], []
    for times in (0, 2):
        with seeded(0, "cpu"):
            network = Layer()

            def look(update: int, network: Layer = network) -> None:
                seen.append((update, network.training, network.layer.weight.clone(), torch.rand(3)))

            train(network, network, Optimization(6, 0.1, 0.5), stage="test", inspection=Inspection(times, look))
        ends.append(network.layer.weight)
    assert torch.equal(*ends)
    assert [(update, training) for update, training, _, _ in seen] == [(3, False), (6, False)]
    assert torch.equal(seen[1][2], ends[1])  # what is left at the end is the average


class Killed(Exception):
    pass


def test_a_training_that_was_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    def run(keeper: Keeper | None, dies_at: int | None = None) -> torch.Tensor:
        with seeded(0, "cpu"):
            network = Layer()

            def loss() -> torch.Tensor:
                if dies_at is not None and next(left) == dies_at:
                    raise Killed
                return network()

            left = iter(range(99))
            train(network, loss, Optimization(7, 0.1, 0.9, warmup=2, clip=1.0), stage="test", keeper=keeper)
        return network.layer.weight

    settings = {"updates": 7, "channels": [8]}
    with pytest.raises(Killed):
        run(Keeper(tmp_path / "x", settings, seconds=0), dies_at=4)
    assert json.loads((tmp_path / "x/state" / RECORD).read_text())["update"] == 4
    assert torch.equal(run(Keeper(tmp_path / "x", settings, seconds=0)), run(None))


@pytest.mark.parametrize("damage", ["truncate", "bit", "json", "other"])
def test_a_state_that_does_not_fit_is_refused(damage: str, tmp_path: Path) -> None:
    network = Layer()
    train(network, network, Optimization(2, 0.1, 0.9), stage="test", keeper=Keeper(tmp_path / "x", {"updates": 2}))
    state = tmp_path / "x/state"
    written = (state / TENSORS).read_bytes()
    if damage == "truncate":
        (state / TENSORS).write_bytes(written[:-9])
    if damage == "bit":  # of the last weight: the file stays a readable one
        (state / TENSORS).write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
    if damage == "json":
        (state / RECORD).write_text("{}")
    settings = {"updates": 3 if damage == "other" else 2}
    told = "updates was 2 and is 3" if damage == "other" else "can't be read"
    with pytest.raises(UserError, match=told):
        train(network, network, Optimization(3, 0.1, 0.9), stage="test", keeper=Keeper(tmp_path / "x", settings))


def test_milestones() -> None:
    assert milestones(100, 4) == {25, 50, 75, 100}
    assert milestones(2, 5) == {1, 2}
    assert max(milestones(7, 3)) == 7
