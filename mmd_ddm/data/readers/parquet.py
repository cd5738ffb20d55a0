"""Parquet files in the Hugging Face layout: a column of encoded images, and one of class numbers if there is one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmd_ddm.data.readers.source import Item, printable, stamp
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")


class _Group(NamedTuple):
    file: int
    number: int  # within its file
    first: int  # its first row, within the file
    rows: int


class ParquetImages:
    """Images in Parquet files below a folder, in their order, one row group in memory at a time.

    Raises:
        UserError: If a file is damaged, or has no column of images.
    """

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        stamped = stamp((file.relative_to(root).as_posix(), file.stat()) for file in files)
        self.identity: dict[str, object] = {"kind": "parquet", **stamped}
        schemas, groups = [], list[_Group]()
        for i, file in enumerate(files):
            with _reading(file):
                metadata = _opened(file).metadata
                schemas.append(metadata.schema.to_arrow_schema())
            sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
            spans = enumerate(zip(accumulate(sizes, initial=0), sizes, strict=False))
            groups += [_Group(i, number, first, rows) for number, (first, rows) in spans if rows]
        self._groups = groups
        self._ends = list(accumulate(group.rows for group in groups))
        self._images = tuple(_image_column(schema, file) for schema, file in zip(schemas, files, strict=True))
        self._labels = _label_column(schemas)
        self._last: tuple[_Group, pa.Table] | None = None
        if not groups:
            raise UserError(f"{printable(root)} holds Parquet files without a row")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_last": None}

    def __len__(self) -> int:
        return self._ends[-1]

    @cached_property
    def labelled(self) -> bool:
        """Whether there is a column of class numbers, none of them missing or negative (which means unknown)."""
        import pyarrow.compute as pc

        if self._labels is None:
            return False
        for file in self._files:
            with _reading(file):
                column = _opened(file).read([self._labels], use_threads=False).column(0)
                if column.null_count or (len(column) and pc.min(column).as_py() < 0):
                    return False
        return True

    classes = None  # only numbers are known

    @property
    def class_of(self) -> str | None:
        """The column of the class numbers."""
        return f"column {self._labels}" if self.labelled else None

    def column(self, name: str) -> list[str | int]:
        """Values of a column, one an image; UserError if a file has none of that name."""
        found = list[str | int]()
        for file in map(_opened, self._files):
            if name not in file.schema_arrow.names:
                columns = ", ".join(file.schema_arrow.names)
                raise UserError(f"there is no column {name!r} of labels; the columns are {columns}")
            found += file.read([name], use_threads=False).column(0).to_pylist()
        return found

    def name(self, row: int) -> str:
        """File of an image, and its row there."""
        group, within = self._locate(row)
        return f"{printable(self._files[group.file])}, row {group.first + within}"

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Images `start` to `stop - 1`, with their class numbers."""
        row = start
        while row < stop:
            group, within = self._locate(row)
            number = min(stop - row, group.rows - within)
            table = self._table(group).slice(within, number)
            labels = table.column(self._labels).to_pylist() if self.labelled else [None] * number
            for value, label in zip(table.column(self._images[group.file]), labels, strict=True):
                yield self._content(value.as_py(), row), label
                row += 1

    def _content(self, value: Mapping[str, object] | bytes | None, row: int) -> bytes:
        if not isinstance(value, Mapping):
            return value or b""
        content, path = value["bytes"], value.get("path")
        if content is None and path:
            hint = "save the data set with its images embedded, or name the folder of image files"
            raise UserError(f"{self.name(row)} holds only the path {path!r} and no image; {hint}")
        return content if isinstance(content, bytes) else b""

    def _locate(self, row: int) -> tuple[_Group, int]:
        number = bisect_right(self._ends, row)
        group = self._groups[number]
        return group, row - (self._ends[number] - group.rows)

    def _table(self, group: _Group) -> pa.Table:
        if self._last is None or self._last[0] != group:
            columns = [self._images[group.file], *([self._labels] if self._labels else [])]
            file = self._files[group.file]
            with _reading(file):
                table = _opened(file).read_row_group(group.number, columns=columns, use_threads=False)
            self._last = group, table
        return self._last[1]


def _opened(file: Path) -> parquet.ParquetFile:
    from pyarrow import parquet

    with _reading(file, "is no Parquet file, or is damaged or incomplete"):
        return parquet.ParquetFile(file)


@contextmanager
def _reading(file: Path, what: str = "is damaged; get it again") -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:  # a wrong byte may ask for any size
        raise UserError(f"{printable(file)} {what} ({' '.join(str(error).split())[:300]})") from None


def _image_column(schema: pa.Schema, file: Path) -> str:
    import pyarrow.types as kinds

    def is_bytes(kind: pa.DataType) -> bool:
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    for name in IMAGE_COLUMNS:
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        if is_bytes(kind) or (kinds.is_struct(kind) and any(f.name == "bytes" and is_bytes(f.type) for f in kind)):
            return name
        raise UserError(f"column {name!r} of {printable(file)} is {kind}, not encoded images (binary, or a struct of)")
    columns = ", ".join(schema.names) or "none"
    raise UserError(f"{printable(file)} has no column {' or '.join(IMAGE_COLUMNS)} of images; its columns: {columns}")


def _label_column(schemas: Sequence[pa.Schema]) -> str | None:
    import pyarrow.types as kinds

    def holds(schema: pa.Schema, name: str) -> bool:
        return name in schema.names and bool(kinds.is_integer(schema.field(name).type))

    return next((name for name in LABEL_COLUMNS if all(holds(schema, name) for schema in schemas)), None)
