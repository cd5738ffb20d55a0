"""What is kept is listed with its size, and removed by name or kind, but nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmd_ddm.cli.main import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home, hub = tmp_path / "home", tmp_path / "torch" / "hub" / "checkpoints"
    monkeypatch.setenv("MMD_DDM_HOME", str(home))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name, size in (("stores/own-8-1/part", 3_000_000), ("stores/own-8-2/part", 10),
                       ("banks/own-pixels/part", 2_000), ("banks/.lock", 0), ("precious/file", 5)):  # fmt: skip
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(bytes(size))
    hub.mkdir(parents=True)
    (hub / "weights-inception-2015-12-05-6726825d.pth").write_bytes(bytes(7))
    (hub / "resnet.pth").write_bytes(bytes(8))  # another program's
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    *lines, total = capsys.readouterr().out.splitlines()
    assert str(total).strip()
    return [line.split()[-1] for line in lines]


ALL = ["stores/own-8-1", "stores/own-8-2", "banks/own-pixels", "weights/weights-inception-2015-12-05-6726825d.pth"]


def test_all_is_listed_and_nothing_removed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(home.rglob("*"))
    assert main(["cache"]) == 0
    said = capsys.readouterr().out
    assert "3.0 MB" in said.splitlines()[0]
    assert "in all" in said
    assert [line.split()[-1] for line in said.splitlines()[:-1]] == ALL
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize(
    ("asked", "left"),
    [(["stores/own-8-1"], ALL[1:]), (["stores", "weights"], ALL[2:3]), (["all"], []), (["mlflow"], ALL)],
)
def test_what_is_asked_for_is_removed(
    asked: list[str], left: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "--clear", *asked]) == 0
    assert told(capsys) == [name for name in ALL if name not in left]
    assert main(["cache"]) == 0
    assert told(capsys) == left
    assert (home / "home" / "precious" / "file").exists()
    assert (home / "torch" / "hub" / "checkpoints" / "resnet.pth").exists()


@pytest.mark.parametrize("name", ["nothing", "../precious", "precious", "stores/../precious"])
def test_other_names_are_refused(name: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--clear", name]) == 2
    assert f"there is no {name!r}" in capsys.readouterr().err
    assert (home / "home" / "precious" / "file").exists()
