"""Data sets to prepare, in a few parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.spec import DatasetSpec
from tests.data.sources import classes, pictures, png, write_parquet

NUMBER = 23


PART = 4  # rows of a part in these tests: six parts, the last with three


def cifar(data: Path, **changes: Any) -> DatasetSpec:
    return replace(dataset_spec("cifar10", str(data)), **changes)


def corrupt(tmp_path: Path, at: tuple[int, ...], number: int = NUMBER) -> Path:
    contents = [png(each) for each in pictures(number)]
    for row in at:
        contents[row] = contents[row][: len(contents[row]) // 2]
    return write_parquet(tmp_path / "corrupt" / "a.parquet", contents, classes(number))
