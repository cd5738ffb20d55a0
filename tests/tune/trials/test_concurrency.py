"""Trials at once, as nodes join and leave."""

from __future__ import annotations

import pytest
from ray.tune.search.basic_variant import BasicVariantGenerator

from mmd_ddm.experiment.distributed import cluster
from mmd_ddm.experiment.distributed.nodes import Node
from tune.study.settings import Machines
from tune.trials import concurrency
from tune.trials.concurrency import PAUSE, Concurrency, FollowNodes

TWO_GPUS = Machines(workers=2, gpus=1, cpus=4)


def nodes(count: int) -> list[Node]:
    """Machines with room for three workers each: their GPUs are four, their CPUs not enough for a fourth."""
    return [Node(str(number), f"w{number}", "", {"CPU": 15, "GPU": 4}) for number in range(count)]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    found = nodes(1)
    monkeypatch.setattr(cluster, "living_nodes", lambda: found)
    return found


def test_it_follows_from_the_resources(there: list[Node]) -> None:
    assert Concurrency(TWO_GPUS).now() == 1
    there += nodes(4)
    assert Concurrency(TWO_GPUS).now() == 7  # 15 workers, of which one stays alone
    assert Concurrency(TWO_GPUS, most=3).now() == 3
    assert Concurrency(TWO_GPUS, asked=9, most=3).now() == 9
    assert Concurrency(Machines(workers=0, gpus=0, cpus=1)).now() == 5 * 15
    there.clear()
    assert Concurrency(TWO_GPUS).now() == 1  # the last one waits for a node


class Given:
    """Nodes that are told here."""

    def __init__(self, there: list[Node]) -> None:
        self.there = there

    def look(self) -> list[Node]:
        return self.there


def test_a_node_that_joins_late_is_used(there: list[Node], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(concurrency.time, "monotonic", lambda: clock[0])
    proposer = BasicVariantGenerator(max_concurrent=1)
    callback = FollowNodes(proposer, Concurrency(TWO_GPUS, most=4), Given(there))
    callback.on_step_begin(0, [])
    there += nodes(3)
    callback.on_step_begin(1, [])
    assert proposer.max_concurrent == 1  # a moment later it isn't looked again
    clock[0] += PAUSE
    callback.on_step_begin(2, [])
    assert proposer.max_concurrent == 4
    del there[2:]
    clock[0] += PAUSE
    callback.on_step_begin(3, [])
    assert proposer.max_concurrent == 3
