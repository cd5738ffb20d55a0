"""Small sources of images of every format, written by other means than those that read them."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from mmd_ddm.data.readers.source import Item, Source

IMAGES = 11


def pictures(number: int = IMAGES, side: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    """Noise, images x 3 x side x side."""
    return np.random.default_rng(seed).integers(0, 256, (number, 3, side, side), dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(target, "PNG")
    return target.getvalue()


def classes(number: int = IMAGES) -> list[int]:
    return [3 * i % 4 for i in range(number)]


def write_folder(root: Path, images: NDArray[np.uint8]) -> Path:
    """Class folders whose sorted order is the order of the images."""
    for i, pixels in enumerate(images):
        file = root / f"class{i * 3 // len(images)}" / "deep" / f"{i:03d}.PNG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return root


def write_parquet(
    file: Path, contents: Sequence[bytes | None], labels: Sequence[int | None] | None = None, group: int = 4
) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, pa.Array] = {
        "img": pa.array([{"bytes": each, "path": f"{i}.png"} for i, each in enumerate(contents)])
    }
    if labels is not None:
        columns["label"] = pa.array(labels, pa.int64())
    pq.write_table(pa.table(columns), file, row_group_size=group)
    return file


def write_lmdb(root: Path, contents: Sequence[bytes]) -> Path:
    import lmdb

    with lmdb.open(str(root), map_size=2**26) as environment, environment.begin(write=True) as transaction:
        for i in reversed(range(len(contents))):
            transaction.put(f"{i:040d}".encode(), contents[i])
    return root


class _Python2Pickler(pickle._Pickler):
    """Writes strings as Python 2 did, and names numpy's function as it was called then."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_text(self, value: bytes | str) -> None:
        content = value.encode() if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(content).to_bytes(4, "little") + content)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_text


def python2_pickle(value: object) -> bytes:
    target = io.BytesIO()
    _Python2Pickler(target, protocol=2).dump(value)
    return target.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def write_cifar(root: Path, images: NDArray[np.uint8], labels: Sequence[int], binary: bool, packed: bool) -> Path:
    """Five batches of equal size."""
    folder = root / ("cifar-10-batches-bin" if binary else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    size = len(images) // 5
    for i in range(5):
        part = slice(i * size, (i + 1) * size)
        flat = images[part].reshape(size, -1)
        if binary:
            content = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels[part], flat, strict=True))
            (folder / f"data_batch_{i + 1}.bin").write_bytes(content)
        else:
            batch = {"batch_label": "training", "labels": list(labels[part]), "data": flat}
            (folder / f"data_batch_{i + 1}").write_bytes(python2_pickle(batch))
    if not packed:
        return folder
    archive = root / f"cifar-10-{'binary' if binary else 'python'}.tar.gz"
    with tarfile.open(archive, "w:gz") as target:
        target.add(folder, folder.name)
    return archive


class Gated:
    """A source that gives no image from some row on before a file is there; files beside it tell who waits."""

    def __init__(self, source: Source, row: int, gate: Path) -> None:
        self._source, self._row, self._gate = source, row, gate
        self.identity, self.labelled = source.identity, source.labelled
        self.classes, self.class_of = source.classes, source.class_of

    def __len__(self) -> int:
        return len(self._source)

    def name(self, row: int) -> str:
        return self._source.name(row)

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        if start >= self._row:
            self._gate.with_name(f"waiting-{start}").touch()
            while not self._gate.exists():
                time.sleep(0.01)
        yield from self._source.read(start, stop)


def later(file: Path) -> None:
    """Give a file another time of modification."""
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))


def damage(file: Path, change: Callable[[bytes], bytes]) -> None:
    file.write_bytes(change(file.read_bytes()))
