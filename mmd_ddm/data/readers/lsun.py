"""An LMDB as LSUN publishes it: values are encoded images, in the order of their keys."""

from __future__ import annotations

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


class Lmdb:
    """Images of the LMDB in a folder; UserError if the package lmdb is missing, or the file is damaged or empty."""

    labelled = False

    def __init__(self, root: Path) -> None:
        self.root = root
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
