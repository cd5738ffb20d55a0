"""How many trials run at once: it follows from what the nodes have room for, which changes as they join and leave."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import ray.tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.basic_variant import BasicVariantGenerator

from mmd_ddm.experiment.distributed.cluster import places
from mmd_ddm.experiment.distributed.nodes import Node
from tune.study.settings import Machines
from tune.trials.nodes import StudyNodes

PAUSE = 5.0  # seconds between two looks at the nodes


@dataclass(frozen=True)
class Concurrency:
    """How many trials may run at once."""

    machines: Machines
    asked: int | None = None  # that many, whatever there is room for: the others wait
    most: int | None = None  # not more than that, where nothing was asked for

    def now(self, nodes: Sequence[Node] | None = None) -> int:
        """Return how many may run on some nodes (None: all that are there now), at least 1."""
        if self.asked is not None:
            return self.asked
        room = places(self.machines.process, nodes) // self.machines.processes
        return max(1, room if self.most is None else min(room, self.most))


class FollowNodes(ray.tune.Callback):  # type: ignore[misc]  # Ray is not typed
    """Tune's callback that lets what proposes trials know how many may run; Tune counts once, when it begins."""

    def __init__(
        self, proposer: ConcurrencyLimiter | BasicVariantGenerator, concurrency: Concurrency, nodes: StudyNodes
    ) -> None:
        self._proposer, self._concurrency, self._nodes, self._next = proposer, concurrency, nodes, 0.0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Tune pickles its callbacks for a restart of its own, which is not used."""
        return (ray.tune.Callback, ())

    def on_step_begin(self, iteration: int, trials: list[TuneTrial], **info: object) -> None:
        """Look at the nodes, now and then."""
        if time.monotonic() >= self._next:
            self._proposer.max_concurrent = self._concurrency.now(self._nodes.look())
            self._next = time.monotonic() + PAUSE
