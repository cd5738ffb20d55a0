"""Room on nodes, and what is said where there is none."""

from __future__ import annotations

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.distributed import cluster
from mmd_ddm.experiment.distributed.cluster import check_room, places
from mmd_ddm.experiment.distributed.nodes import Node


def node(name: str, cpus: float, gpus: float = 0) -> Node:
    return Node(name, name, f"10.0.0.{name}", {"CPU": cpus, **({"GPU": gpus} if gpus else {})})


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ({"CPU": 4, "GPU": 1}, 4 + 1),  # four by GPUs, one by CPUs (7 // 4): what is left of two nodes is no process
        ({"CPU": 4, "GPU": 0}, 8 + 1),
        ({"CPU": 1, "GPU": 0.5}, 8 + 7),
        ({"CPU": 64, "GPU": 0}, 0),
        ({"CPU": 1, "GPU": 5}, 0),
    ],
)
def test_processes_have_room_on_whole_nodes(process: dict[str, float], expected: int) -> None:
    assert places(process, [node("1", 32, 4), node("2", 7, 4)]) == expected


def test_a_request_without_room_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "living_nodes", lambda: [node("1", 6, 2), node("2", 6)])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_room(2, {"CPU": 3, "GPU": 1})
    with pytest.raises(UserError) as refused:
        check_room(3, {"CPU": 4, "GPU": 1})
    words = (
        "A run needs 3 x 4 CPUs and 1 GPUs at once, but there is room for 1 (1 has 6 CPUs and 2 GPUs, 2 has 6 CPUs and "
        "0 GPUs); ask for fewer workers, or for less of each."
    )
    assert str(refused.value) == words
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(UserError, match="wait until all nodes have joined"):
        check_room(3, {"CPU": 4, "GPU": 0})
