"""Nodes that join and leave, as a study is told of them; what they answer is given here."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mmd_ddm.experiment.distributed.nodes import Node
from tune.study.settings import Machines
from tune.trials import nodes
from tune.trials.nodes import StudyNodes

TRIAL = Machines(workers=2, gpus=0, cpus=2)
HEAD, FIRST, SECOND, SMALL = (
    Node(name, name, f"10.0.0.{place}", {"CPU": cpus})
    for place, (name, cpus) in enumerate([("head", 0), ("w1", 4), ("w2", 5), ("w3", 1)])
)


class Followed:
    """A study's nodes, with what it said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, reasons: dict[Node, str]) -> None:
        self.there, self.said, self.reserved = [HEAD, FIRST], list[str](), list[Node]()
        monkeypatch.setattr(nodes, "living_nodes", lambda: self.there)
        needed = [folder / "photos"]

        def unshared(where: Path, asked: list[Node], also: list[Path]) -> dict[Node, str]:
            assert (where, also) == (folder, needed)
            return {each: reasons[each] for each in asked if each in reasons}

        monkeypatch.setattr(nodes, "unshared", unshared)
        monkeypatch.setattr(nodes, "reserve", lambda node, process: self.reserved.append(node))
        self._nodes = StudyNodes(folder, TRIAL, self.said.append, needed)

    def look(self, *there: Node) -> list[Node]:
        self.there = [HEAD, *there]
        self._nodes.look()
        for thread in threading.enumerate():
            if "(ask)" in thread.name:  # a new node
                thread.join(10)
        return self._nodes.look()


def test_a_study_waits_for_room_and_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    followed = Followed(monkeypatch, tmp_path, {})
    assert followed.look(FIRST) == [HEAD, FIRST]
    assert followed.said == []
    assert followed.look() == [HEAD]
    assert followed.said == [
        "node w1 (10.0.0.1) has left; trials go on from their checkpoints elsewhere",
        "no nodes have room for a trial, which takes 2 x 2 CPUs: the study waits until some join",
    ]
    followed.look(SMALL)
    assert len(followed.said) == 2  # one that can't hold a worker is nothing to speak of
    assert followed.look(SMALL, SECOND) == [HEAD, SECOND]
    assert followed.said[2:] == ["node w2 (10.0.0.2) has joined", "there is room again: the study goes on"]
    assert followed.reserved == []


def test_a_late_node_without_the_storage_is_named_and_kept_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    followed = Followed(monkeypatch, tmp_path, {SECOND: "the folder isn't visible there; mount it"})
    assert followed.look(FIRST, SECOND) == [HEAD, FIRST]
    assert followed.said == [
        "node w2 (10.0.0.2) has joined, but is not used: the folder isn't visible there; mount it; then restart Ray "
        "there"
    ]
    assert followed.reserved == [SECOND]
    assert followed.look(SECOND) == [HEAD]
    assert followed.said[-1].endswith("the study waits until some join")
