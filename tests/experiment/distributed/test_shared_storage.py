"""Storage that another node sees, or doesn't; the other node is a function called in this process, which pretends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.distributed import shared_storage
from mmd_ddm.experiment.distributed.nodes import Node
from mmd_ddm.experiment.distributed.shared_storage import check_storage
from mmd_ddm.files import locked, remove

NODES = [Node("driver", "head", "10.0.0.1", {"CPU": 4}), Node("other", "w1", "10.0.0.2", {"CPU": 4, "GPU": 1})]
Look = Callable[..., str]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Look], None]:
    """Let the other node do something before or in place of its look."""
    here = ["driver"]
    monkeypatch.setattr(shared_storage, "living_nodes", lambda: NODES)
    monkeypatch.setattr(shared_storage, "own_node", lambda: here[0])

    def set_look(look: Look) -> None:
        def on_each(nodes: list[Node], function: Look, *arguments: object) -> dict[str, str | Exception]:
            told: dict[str, str | Exception] = {}
            for node in nodes:
                here[0] = node.id
                try:
                    told[node.id] = look(function, *arguments)
                except Exception as error:
                    told[node.id] = error
            here[0] = "driver"
            return told

        monkeypatch.setattr(shared_storage, "on_each", on_each)

    return set_look


def elsewhere(function: Look, mark: str, *arguments: object) -> str:
    """A node on whose disk the path is another folder."""
    return function(str(Path(mark).parent / "elsewhere" / Path(mark).name), *arguments)


def stale(function: Look, mark: str, *arguments: object) -> str:
    Path(mark).write_text("another study's")
    return function(mark, *arguments)


def own_locks(function: Look, mark: str, *arguments: object) -> str:
    """A mount with `nolock`: a lock is held by nobody else."""
    remove(Path(f"{mark}.lock"))
    return function(mark, *arguments)


def own_disk(function: Look, mark: str, *arguments: object) -> str:
    """A copy, as of a folder that is mirrored from time to time: what is written there stays there."""
    told = function(mark, *arguments)
    remove(shared_storage.answer_of(Path(mark), "other"))
    return told


def hangs(function: Look, *arguments: object) -> str:
    raise TimeoutError


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (elsewhere, "isn't visible there; choose an --output on storage that all nodes share"),
        (stale, "is another one there"),
        (own_locks, "locks in .* don't hold between machines; mount it without nolock"),
        (own_disk, "what it writes to .* is not seen on"),
        (hangs, "it did not answer within 120 s; look whether its mount of"),
    ],
)
def test_a_node_without_the_storage_is_named(
    look: Look, words: str, pretend: Callable[[Look], None], tmp_path: Path
) -> None:
    pretend(look)
    with pytest.raises(UserError, match=rf"Node w1 \(10\.0\.0\.2\) can't run trials: .*{words}"):
        check_storage(tmp_path / "studies" / "new", {"CPU": 1, "GPU": 0})
    assert list(tmp_path.iterdir()) == []


def test_shared_storage_is_left_as_it_was(pretend: Callable[[Look], None], tmp_path: Path) -> None:
    pretend(lambda function, *arguments: function(*arguments))
    (tmp_path / "study.json").touch()
    check_storage(tmp_path, {"CPU": 1, "GPU": 0}, [tmp_path / "study.json"])
    assert [file.name for file in tmp_path.iterdir()] == ["study.json"]
    with pytest.raises(UserError, match=rf"{tmp_path / 'weights'} isn't there; put it on storage"):
        check_storage(tmp_path, {"CPU": 1, "GPU": 0}, [tmp_path / "weights"])
    with locked(tmp_path / ".lock"):
        pass


def test_a_node_that_runs_no_trial_is_not_asked(pretend: Callable[[Look], None], tmp_path: Path) -> None:
    pretend(hangs)
    check_storage(tmp_path, {"CPU": 8, "GPU": 0})
    check_storage(tmp_path, {"CPU": 1, "GPU": 2})
    with pytest.raises(UserError):
        check_storage(tmp_path, {"CPU": 1, "GPU": 1})
