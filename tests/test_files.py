"""Files that are written whole, and locks that end with their process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmd_ddm.files import former_of, locked, replacing, write_json, write_whole


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.txt"
    write_whole(file, "old")
    with pytest.raises(KeyboardInterrupt), replacing(file) as half:  # noqa: PT012
        half.write_text("ne")
        assert file.read_text() == "old"
        raise KeyboardInterrupt
    assert (file.read_text(), names(file.parent)) == ("old", {"a.txt"})
    write_json(file, {"new": [1]})
    assert (json.loads(file.read_text()), names(file.parent)) == ({"new": [1]}, {"a.txt"})


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for content in ("old", "new"):
        with replacing(folder) as half:
            half.mkdir()
            (half / content).touch()
        assert (names(folder), names(tmp_path)) == ({content}, {"model"})
    with pytest.raises(OSError, match="full"), replacing(folder) as half:  # noqa: PT012
        half.mkdir()
        raise OSError("full")
    assert (names(folder), names(tmp_path)) == ({"new"}, {"model"})


def test_a_kill_between_two_names_leaves_the_former_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, true = tmp_path / "model", Path.rename
    folder.mkdir()
    (folder / "old").touch()

    def killed(self: Path, target: Path) -> Path:
        if target == folder:
            raise KeyboardInterrupt
        return true(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt), replacing(folder) as half:
        half.mkdir()
    assert names(former_of(folder)) == {"old"}


HOLD = """
import sys
from pathlib import Path
from mmd_ddm.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_once_and_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert other.stdin is not None
    assert other.stdout is not None
    with other.stdin, other.stdout:
        assert other.stdout.readline() == b"held\n"
        with locked(file, wait=False) as mine:
            assert not mine
        other.kill()
        other.wait()
    with locked(file) as mine:
        assert mine
        with locked(file, wait=False) as again:
            assert not again
    with locked(file, wait=False) as mine:
        assert mine


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_weights_may_be_read_by_those_whom_the_umask_lets(umask: int, tmp_path: Path) -> None:
    former = os.umask(umask)
    try:
        with replacing(tmp_path / "folder") as half:
            (half / "unet").mkdir(parents=True)
            save_file({"a": torch.zeros(1)}, half / "unet" / "weights.safetensors")
        with replacing(tmp_path / "weights.safetensors") as half:
            save_file({"a": torch.zeros(1)}, half)
    finally:
        os.umask(former)
    for file in tmp_path.rglob("*.safetensors"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
