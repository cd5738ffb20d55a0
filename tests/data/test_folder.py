"""Folders of image files."""

import os
from pathlib import Path
from typing import Any

import pytest

from mmd_ddm.data.readers.open import open_source
from mmd_ddm.errors import UserError
from tests.data.reading import refused
from tests.data.sources import (
    pictures,
    png,
)

# folders


def folder_of(root: Path, *names: str) -> list[str]:
    content = png(pictures(1, 4)[0])
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    source = open_source(str(root))
    return [Path(source.name(row)).relative_to(root).as_posix() for row in range(len(source))]


def test_folder_takes_visible_images_only(tmp_path: Path) -> None:
    names = ["b.JPG", "a/z.png", "a-b.png", "a/.hidden.png", ".git/x.png", "notes.txt", "c.tiff", "d.webp", "e.eps"]
    assert folder_of(tmp_path, *names) == ["a-b.png", "a/z.png", "b.JPG", "c.tiff", "d.webp"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x/1.png", "x/2.png", "a/9.png"], [0, 1, 1]),
        (["x/1.png", "x/y/2.png"], None),  # one folder is no class
        (["x/1.png", "y/1.png", "0.png"], None),
        (["0.png", "1.png"], None),
    ],
)
def test_folders_are_classes_where_every_image_has_one(
    names: list[str], expected: list[int] | None, tmp_path: Path
) -> None:
    folder_of(tmp_path, *names)
    source = open_source(str(tmp_path))
    assert source.labelled == (expected is not None)
    assert [label for _, label in source.read(0, len(source))] == (expected or [None] * len(names))


def test_links_in_circles_and_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a" / "itself")
    with pytest.raises(UserError, match=r"itself cannot be read"):
        folder_of(tmp_path, "a/1.png")
    (tmp_path / "a" / "itself").unlink()
    assert folder_of(tmp_path, "a/1.png", "b/2.png") == ["a/1.png", "b/2.png"]
    (tmp_path / "linked").symlink_to(tmp_path / "a")  # the same images are not taken twice
    assert len(folder_of(tmp_path, "b/2.png")) == 2
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone\.png cannot be read: No such file"):
        folder_of(tmp_path, "b/2.png")


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert folder_of(tmp_path, "1.png") == ["1.png"]


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path, "secret/1.png", "2.png")

    def denied(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    source = open_source(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        with pytest.raises(UserError, match=r"2\.png cannot be read: Permission denied"):
            list(source.read(0, 1))
    monkeypatch.setattr(os, "scandir", denied)
    refused(tmp_path, "cannot be read: Permission denied")


def test_names_of_any_bytes(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).write_bytes(png(pictures(1, 4)[0]))
    source = open_source(str(tmp_path))
    source.name(0).encode()
    assert len(list(source.read(0, 1))) == 1
