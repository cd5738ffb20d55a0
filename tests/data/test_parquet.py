from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmd_ddm.data.readers.open import open_source
from tests.data.reading import refused
from tests.data.sources import (
    classes,
    damage,
    pictures,
    png,
    write_parquet,
)

# Parquet


def test_only_the_row_groups_that_are_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", [png(each) for each in pictures(12, 4)], classes(12), group=3)
    source = open_source(str(file))
    assert source.labelled
    read: list[int] = []
    true = pq.ParquetFile.read_row_group

    def spied(self: pq.ParquetFile, i: int, *args: Any, **kwargs: Any) -> pa.Table:
        read.append(i)
        return true(self, i, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spied)
    list(source.read(4, 8))
    list(source.read(8, 9))
    assert read == [1, 2]  # the second one once


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("column", ["image", "img"])
def test_plain_binary_columns(column: str, kind: pa.DataType, tmp_path: Path) -> None:
    contents = [png(each) for each in pictures(3, 4)]
    pq.write_table(pa.table({column: pa.array(contents, kind), "fine_label": [5, 6, 7]}), tmp_path / "a.parquet")
    assert list(open_source(str(tmp_path)).read(0, 3)) == list(zip(contents, [5, 6, 7], strict=True))


def test_columns_that_are_no_images(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"], "jpg": [b"a"]}), file)
    refused(file, r"no column image or img.*text, jpg")
    pq.write_table(pa.table({"image": ["a.png"]}), file)
    refused(file, r"'image'.*is string")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), file)
    refused(file, "without a row")


def test_images_that_are_not_embedded(tmp_path: Path) -> None:
    refused(write_parquet(tmp_path / "a.parquet", [png(pictures(1)[0]), None]), r"row 1 holds only the path '1\.png'")
    table = pa.table({"image": pa.array([None, {"bytes": None}], pa.struct({"bytes": pa.binary()}))})
    pq.write_table(table, tmp_path / "b.parquet")
    assert list(open_source(str(tmp_path / "b.parquet")).read(0, 2)) == [(b"", None), (b"", None)]


@pytest.mark.parametrize("labels", [[0, 1, None], [0, -1, 1]])
def test_unknown_classes_mean_no_classes(labels: list[int | None], tmp_path: Path) -> None:
    source = open_source(str(write_parquet(tmp_path / "a.parquet", [png(each) for each in pictures(3)], labels)))
    assert not source.labelled
    assert [label for _, label in source.read(0, 3)] == [None] * 3


def test_damaged_parquet(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", [png(each) for each in pictures(9)])
    whole = file.read_bytes()
    damage(file, lambda content: content[:-50])
    refused(file, r"a\.parquet is no Parquet file, or is damaged")
    file.write_text("text")
    refused(file, r"a\.parquet is no Parquet file, or is damaged")
    file.write_bytes(whole[:4] + bytes(2000) + whole[2004:])
    refused(file, r"a\.parquet is damaged")
