"""An LMDB as LSUN publishes it: values are encoded images, in the order of their keys."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.data.readers.source import Item, printable, stamp
from mmd_ddm.errors import UserError

if TYPE_CHECKING:
    import lmdb

DATA = "data.mdb"
_STRIDE = 256  # rows between the keys that are remembered
# LMDB's format, version 1 of 64-bit machines: each of the first two pages has a header of 16 bytes and then the magic
# number, 20 bytes, the size of a page, 92 bytes, the number of the last page and the number of the transaction
_META = struct.Struct("<16x I 20x I 92x Q Q")
_MAGIC = 0xBEEFC0DE


def _check_length(file: Path) -> None:
    """Refuse a truncated file: LMDB maps it, and the first touch of a page that is not there ends the process."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = _meta(stream.read(_META.size))
        if first is None:
            return  # LMDB says itself that it is none of its files
        page = first[0]
        stream.seek(page)
        second = _meta(stream.read(_META.size))
    # the newer one counts; while the second is not whole, nothing is known of the file's end
    _, last, _ = max(filter(None, (first, second)), key=lambda meta: meta[2])
    if second is None or size < (last + 1) * page:
        wanted = (last + 1) * page
        raise UserError(f"{printable(file)} is truncated: it has {size} of {wanted} bytes; get it again")


def _meta(content: bytes) -> tuple[int, int, int] | None:
    if len(content) < _META.size:
        return None
    magic, page, last, transaction = _META.unpack(content)
    return (page, last, transaction) if magic == _MAGIC and page else None


class Lmdb:
    """Images of the LMDB in a folder; UserError if the package lmdb is missing, or the file is damaged or empty."""

    labelled, classes, class_of = False, None, None

    def __init__(self, root: Path) -> None:
        self.root = root
        _check_length(root / DATA)
        self.identity: dict[str, object] = {"kind": "lmdb", **stamp([(DATA, (root / DATA).stat())])}
        with self._transaction() as transaction:
            self._size = transaction.stat()["entries"]
        if not self._size:
            raise UserError(f"{printable(root / DATA)} holds no image")

    def __len__(self) -> int:
        return int(self._size)

    @cached_property
    def _keys(self) -> tuple[bytes, ...]:
        """Every 256th key: where reading from a row begins."""
        with self._transaction() as transaction:
            keys = transaction.cursor().iternext(keys=True, values=False)
            return tuple(bytes(key) for i, key in enumerate(keys) if i % _STRIDE == 0)

    def name(self, row: int) -> str:
        """File, and the number and key of an image."""
        with self._from(row) as items:
            key, _ = next(items)
        return f"{printable(self.root / DATA)}, image {row} (key {key.decode(errors='replace')})"

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Images `start` to `stop - 1`."""
        with self._from(start) as items:
            for _ in range(start, stop):
                yield next(items)[1], None

    @contextmanager
    def _from(self, row: int) -> Iterator[Iterator[tuple[bytes, bytes]]]:
        first = self._keys[row // _STRIDE]
        with self._transaction() as transaction:
            cursor = transaction.cursor()
            cursor.set_key(first)
            for _ in range(row % _STRIDE):
                cursor.next()
            yield ((bytes(key), bytes(value)) for key, value in cursor.iternext(keys=True, values=True))

    @contextmanager
    def _transaction(self) -> Iterator[lmdb.Transaction]:
        try:
            import lmdb
        except ImportError:
            raise UserError("reading an LMDB needs the package lmdb: pip install 'mmd-ddm[lsun]'") from None
        try:
            # neither a lock file nor a lock: published files lie on read-only disks and nobody writes to them
            environment = lmdb.open(str(self.root), readonly=True, lock=False, readahead=False, max_readers=1)
            with environment, environment.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise UserError(f"{printable(self.root / DATA)} is no LMDB, or is damaged ({error})") from None
