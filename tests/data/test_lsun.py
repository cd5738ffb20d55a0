import os
import sys
from pathlib import Path

import pytest

from mmd_ddm.data.readers.open import open_source
from tests.data.reading import refused
from tests.data.sources import (
    write_lmdb,
)

# LMDB


def test_lmdb_of_many_images_is_read_from_any_row(tmp_path: Path) -> None:
    contents = [f"{i}".encode() for i in range(700)]
    source = open_source(str(write_lmdb(tmp_path / "a", contents)))
    for start, stop in ((0, 700), (255, 258), (256, 257), (511, 514), (699, 700)):
        assert [content for content, _ in source.read(start, stop)] == contents[start:stop]
    assert f"{300:040d}" in source.name(300)


def test_lmdb_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lmdb(tmp_path / "a", [b"x"])
    monkeypatch.setitem(sys.modules, "lmdb", None)
    refused(tmp_path / "a", r"pip install 'mmd-ddm\[lsun\]'")


@pytest.mark.parametrize("keep", [0.4, 0.95])
def test_truncated_lmdb_is_refused_before_it_is_mapped(keep: float, tmp_path: Path) -> None:
    file = write_lmdb(tmp_path / "a", [bytes(9000) for _ in range(20)]) / "data.mdb"
    pages = -(-file.stat().st_size // 4096)
    assert len(open_source(str(tmp_path / "a"))) == 20
    os.truncate(file, int(pages * keep) * 4096)
    refused(tmp_path / "a", r"is truncated: it has \d+ of \d+ bytes; get it again")
    os.truncate(file, 5000)  # within the second of the pages that describe it
    refused(tmp_path / "a", "is truncated")


def test_damaged_lmdb(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no such thing" * 1000)
    refused(tmp_path, "is no LMDB, or is damaged")
    refused(write_lmdb(tmp_path / "empty", []), "holds no image")
