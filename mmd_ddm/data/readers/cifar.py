"""CIFAR-10 as its authors publish it: the binary and the Python version, packed or unpacked; training images only."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmd_ddm.data.readers.source import Item, printable, stamp
from mmd_ddm.errors import UserError

BATCHES = 5
BATCH = 10_000  # images a batch, as published
_SHAPE = (3, 32, 32)
_VALUES = 3 * 32 * 32
_LARGEST = 2**26  # bytes of a file in it; a batch has 31 million
_UNPACKED = 2**28  # bytes of all of it; it has 186 million
_BINARY, _PYTHON = (tuple(f"data_batch_{i + 1}{ending}" for i in range(BATCHES)) for ending in (".bin", ""))


class _Unpacked(gzip.GzipFile):
    """An archive's content, no more than one of CIFAR-10 has: a few megabytes may unpack to any number."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST:  # of the name of a member too, which tarfile reads at once
            raise tarfile.ReadError(f"a piece of it has {size} bytes, which nothing in CIFAR-10 has")
        return super().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if offset > _UNPACKED:  # over a member, which is unpacked for that
            raise tarfile.ReadError(f"it unpacks to more than {_UNPACKED} bytes, which CIFAR-10 does not")
        return super().seek(offset, whence)


class _Batch(NamedTuple):
    pixels: NDArray[np.uint8]  # images x 3 x 32 x 32
    labels: list[int]


class Cifar10:
    """The 50 000 training images, five batches of 10 000, in one of the archives or the folder that it unpacks to.

    Raises:
        UserError: If one of the five batches is missing.
    """

    labelled, classes, class_of = True, None, "the archive's"

    def __init__(self, path: Path, binary: bool) -> None:
        self.path, self._binary = path, binary
        self._members = _BINARY if binary else _PYTHON
        files = [path / member for member in self._members] if path.is_dir() else [path]
        for file in files:
            if not file.is_file():
                raise UserError(f"{printable(file)} is missing; CIFAR-10 has {BATCHES} batches of training images")
        self.identity: dict[str, object] = {"kind": "cifar-10", **stamp((file.name, file.stat()) for file in files)}
        self._last: tuple[int, _Batch] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_last": None}

    def __len__(self) -> int:
        return BATCHES * BATCH

    def name(self, row: int) -> str:
        """Batch of an image, and its row there."""
        return f"{printable(self.path)}, {self._members[row // BATCH]}, row {row % BATCH}"

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Pixels of the images `start` to `stop - 1`, with their class numbers."""
        for row in range(start, stop):
            batch = self._batch(row // BATCH)
            yield batch.pixels[row % BATCH], batch.labels[row % BATCH]

    def _batch(self, number: int) -> _Batch:
        if self._last is None or self._last[0] != number:
            where = f"{printable(self.path)}, {self._members[number]}"
            content = self._content(self._members[number])
            batch = (_parse_binary if self._binary else _parse_python)(content, where)
            if len(batch.pixels) != BATCH or len(batch.labels) != BATCH:
                raise UserError(f"{where} holds {len(batch.pixels)} images, not {BATCH}; get it again")
            self._last = number, batch
        return self._last[1]

    def _content(self, member: str) -> bytes:
        if self.path.is_dir():
            if (size := (self.path / member).stat().st_size) > _LARGEST:
                raise UserError(f"{printable(self.path / member)} has {size} bytes, which no batch has; get it again")
            return (self.path / member).read_bytes()
        try:
            with _Unpacked(self.path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
                for each in archive:
                    if Path(each.name).name == member and (file := archive.extractfile(each)):
                        return file.read()
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise UserError(f"{printable(self.path)} is damaged or incomplete ({error}); get it again") from None
        raise UserError(f"{printable(self.path)} has no {member}; it is not CIFAR-10 as its authors publish it")


def cifar_form(path: Path) -> bool | None:
    """Whether a path is CIFAR-10's binary version (True), its Python version (False), or neither (None)."""
    if path.is_dir():
        here = {member for member in (*_BINARY, *_PYTHON) if (path / member).is_file()}
        return None if not here else bool(here & set(_BINARY))
    return {"cifar-10-binary.tar.gz": True, "cifar-10-python.tar.gz": False}.get(path.name)


def _parse_binary(content: bytes, where: str) -> _Batch:
    """Records of a label and the red, green and blue plane."""
    if len(content) % (1 + _VALUES):
        raise UserError(f"{where} is incomplete: {len(content)} bytes are no multiple of {1 + _VALUES}; get it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _VALUES)
    return _Batch(records[:, 1:].reshape(-1, *_SHAPE), records[:, 0].tolist())


def _parse_python(content: bytes, where: str) -> _Batch:
    """A pickled dictionary of an array `data` and a list `labels`."""
    try:
        found = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        values = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
        pixels, labels = values["data"], [int(label) for label in values["labels"]]
        if pixels.dtype != np.uint8:
            raise ValueError(f"values are {pixels.dtype}")
        return _Batch(pixels.reshape(-1, *_SHAPE), labels)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise UserError(f"{where} is no batch of CIFAR-10, or is damaged ({error}); get it again") from None


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles numpy arrays and Python's own containers; a pickle could name any function otherwise."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return np.empty(0).__reduce__()[0]  # the same function, whose module numpy has renamed
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise UserError(f"the pickle names {module}.{name}, which no batch of CIFAR-10 does; it is not loaded")
