"""Rows of one type and shape, images or features, in a folder of memory-mapped Arrow files.

A folder holds parts, `part-00012.arrow`, each one record batch of a fixed-size list a row, and `rows.json`. While it is
being made it has another name, so that a folder under its final name is whole.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from mmd_ddm.data.names import MANIFEST
from mmd_ddm.errors import UserError
from mmd_ddm.files import digest_of, locked, remove, replacing, write_json
from mmd_ddm.records import Record, read_record

if TYPE_CHECKING:
    import pyarrow as pa

_DTYPES = {"uint8": torch.uint8, "float16": torch.float16, "float32": torch.float32}


class Rows:
    """M rows that `RowWriter` wrote; opening reads a manifest, and pages come from disk as they are touched.

    A part that was touched since it was written is read again and compared with its checksum.

    Raises:
        UserError: If the folder is half-written, damaged, changed since, or made of something else than `key`, which is
            as given to `RowWriter`; None: of anything.
    """

    def __init__(self, folder: Path, key: Mapping[str, object] | None = None) -> None:
        if not (folder / MANIFEST).exists():
            half = any(folder.glob("part-*")) or _partials(folder)
            state = "is only half-written; make it again, which goes on where it stopped" if half else "is not there"
            raise UserError(f"{folder} {state}")
        manifest = read_record(folder / MANIFEST, "delete the folder and make it again")
        self.dtype, self.shape = _DTYPES[manifest.one_of("dtype", *_DTYPES)], tuple(manifest.wholes("shape"))
        self.fingerprint = manifest.text("fingerprint")
        self.record: dict[str, object] = {**manifest.mapping("record"), "fingerprint": self.fingerprint}
        parts = [_Part.read(each) for each in manifest.records("parts")]
        if self.fingerprint != _fingerprint(manifest.text("dtype"), self.shape, [each.sha256 for each in parts]):
            raise manifest.damaged("its fingerprint is not that of its dtype, shape and parts")
        refreshed = [_refreshed(folder, each) for each in parts]
        if refreshed != parts:
            with suppress(OSError):  # a folder that may only be read
                write_json(folder / MANIFEST, {**manifest.entries, "parts": [each._asdict() for each in refreshed]})
        parts = [each for each in parts if each.rows]
        self._bounds: list[int] = [0, *accumulate(each.rows for each in parts)]  # where parts begin and end
        if key is not None and self.record.get("key") != json.loads(json.dumps(key)):
            hint = "delete it, or name another folder"
            raise UserError(f"{folder} holds other images, or the same made otherwise; {hint}")
        self.folder, self._files = folder, [folder / each.file for each in parts]

    def __reduce__(self) -> tuple[object, ...]:
        return Rows, (self.folder,)

    def __len__(self) -> int:
        return self._bounds[-1]

    def __getitem__(self, indices: slice | Tensor) -> Tensor:
        """Rows (n, *shape). A slice within one part is a view of the file, not to be written to."""
        none = torch.empty((0, *self.shape), dtype=self.dtype)
        if isinstance(indices, slice):
            start, stop, step = indices.indices(len(self))
            if step != 1:
                return self[torch.arange(start, stop, step)]
            spans = zip(self._parts, pairwise(self._bounds), strict=True)
            found = [rows[max(start - a, 0) : stop - a] for rows, (a, b) in spans if a < stop and start < b]
            return found[0] if len(found) == 1 else torch.cat([none, *found])
        chosen = indices.cpu().long()
        if len(chosen) and not (-len(self) <= int(chosen.min()) and int(chosen.max()) < len(self)):
            raise IndexError(f"indices must lie within the {len(self)} rows")
        # one part after the other, in the order of the disk
        chosen, order = torch.where(chosen < 0, chosen + len(self), chosen).sort()
        cuts = pairwise(torch.searchsorted(chosen, torch.tensor(self._bounds)).tolist())
        result = none.new_empty((len(chosen), *self.shape))
        for rows, first, (low, high) in zip(self._parts, self._bounds, cuts, strict=False):
            if low < high:
                result[order[low:high]] = rows[chosen[low:high] - first]
        return result

    @cached_property
    def labels(self) -> Tensor | None:
        """Class numbers (M,), int64; None where the rows have none."""
        batches = [_read_batch(file) for file in self._files]
        labelled = batches and all("label" in batch.schema.names for batch in batches)
        return torch.cat([from_dlpack(batch.column("label")) for batch in batches]) if labelled else None

    @cached_property
    def _parts(self) -> list[Tensor]:
        columns = [_read_batch(file).column("row") for file in self._files]
        for column, file, (first, end) in zip(columns, self._files, pairwise(self._bounds), strict=True):
            if len(column) != end - first:
                raise UserError(
                    f"{self.folder / MANIFEST} is damaged: {file.name} has {len(column)} rows, not {end - first}"
                )
        return [from_dlpack(column.flatten()).view(-1, *self.shape) for column in columns]


class RowWriter:
    """Makes a folder of rows, part by part, in any order, from any number of processes; goes on after a kill.

    Until `finish` it has another name. Rows are uint8, float16 or float32, each of `shape`. The key says what they are
    made of, as JSON can hold it; parts made of something else are thrown away.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype, shape: tuple[int, ...], parts: int, key: Mapping[str, object]
    ) -> None:
        self.folder, self.dtype, self.shape, self.key = folder, dtype, tuple(shape), key
        self._name = str(dtype).removeprefix("torch.")
        made_of = digest_of({**key, "dtype": self._name, "shape": shape, "parts": parts})
        self.partial = folder.with_name(f"{folder.name}.{made_of}.partial")
        self.files = [self.partial / f"part-{part:05d}.arrow" for part in range(parts)]
        for other in _partials(folder):
            if other != self.partial:
                remove(other)

    def is_missing(self, part: int) -> bool:
        """Whether a part is not written yet."""
        return not self.files[part].is_file() and not self._is_finished()

    def missing(self) -> list[int]:
        """Numbers of the parts that are not written yet."""
        return [part for part in range(len(self.files)) if self.is_missing(part)]

    @contextmanager
    def claim(self, part: int, *, wait: bool = True) -> Iterator[bool]:
        """Keep other processes from making a part; a claim ends with its process, however that ends.

        Yields whether the caller shall make it: it is missing, and no other process makes it, which is waited for
        unless `wait` is False.
        """
        if not self.is_missing(part):
            yield False
            return
        lock = self.files[part].with_suffix(".lock")
        with locked(lock, wait=wait) as mine:
            yield mine and self.is_missing(part)
            if mine and not self.is_missing(part):
                lock.unlink(missing_ok=True)  # whoever gets the lock from now on finds the part

    def write(self, part: int, rows: Tensor, labels: Tensor | None = None, notes: Sequence[str] = ()) -> None:
        """Write a part whole, or nothing of it: rows (n, *shape) and, for all parts or for none, labels (n,) int64."""
        import pyarrow as pa

        if rows.dtype != self.dtype or tuple(rows.shape[1:]) != self.shape:
            raise ValueError(f"rows are {rows.dtype} {tuple(rows.shape[1:])}, not {self.dtype} {self.shape}")
        flat = pa.array(rows.contiguous().flatten().numpy())
        columns = {"row": pa.FixedSizeListArray.from_arrays(flat, math.prod(self.shape))}
        if labels is not None:
            columns["label"] = pa.array(labels.numpy())
        batch = pa.record_batch(columns)
        batch = batch.replace_schema_metadata({"sha256": _digest(batch), "notes": json.dumps(notes)})
        with replacing(self.files[part]) as half, pa.ipc.new_file(half, batch.schema) as writer:
            writer.write_batch(batch)

    def notes(self) -> list[str]:
        """The notes of all parts that are written, in their order; none once the folder is finished."""
        with suppress(FileNotFoundError):  # another process may finish it meanwhile
            batches = [_read_batch(file) for file in self.files if file.is_file()]
            return [note for batch in batches for note in json.loads(batch.schema.metadata[b"notes"])]
        return []

    def discard_empty(self) -> None:
        """Remove what was begun if no part is written yet."""
        if not any(file.is_file() for file in self.files):
            remove(self.partial)

    def finish(self, record: Mapping[str, object]) -> Rows:
        """Give the folder its final name, once every part is there; the first of several processes does it.

        `Rows.record` will hold the record beside the key.
        """
        lock = self.partial / "finish.lock"
        with locked(lock) as mine:
            if mine and not self._is_finished():
                if missing := len(self.missing()):
                    raise RuntimeError(f"{missing} of {len(self.files)} parts of {self.folder} are not written yet")
                for left in set(self.partial.iterdir()) - {*self.files, lock}:  # by processes that were killed
                    left.unlink(missing_ok=True)
                write_json(self.partial / MANIFEST, self._manifest({"key": self.key, **record}))
                self.partial.rename(self.folder)
                for left in self.folder.glob("*.lock"):  # this one, and those of processes that came late
                    left.unlink(missing_ok=True)
        remove(self.partial)  # made anew by a process that came late
        return Rows(self.folder, self.key)

    def _is_finished(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    def _manifest(self, record: Mapping[str, object]) -> dict[str, object]:
        batches = [_read_batch(file) for file in self.files]
        digests = [batch.schema.metadata[b"sha256"].decode() for batch in batches]
        parts = [
            _Part(file.name, batch.num_rows, digest, **_stamp(file))._asdict()
            for file, batch, digest in zip(self.files, batches, digests, strict=True)
        ]
        fingerprint = _fingerprint(self._name, self.shape, digests)
        return {
            "dtype": self._name, "shape": self.shape, "record": record, "fingerprint": fingerprint, "parts": parts
        }  # fmt: skip


def _fingerprint(dtype: str, shape: tuple[int, ...], digests: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([dtype, list(shape), digests]).encode()).hexdigest()


class _Part(NamedTuple):
    """A file of rows, as the manifest has it."""

    file: str
    rows: int
    sha256: str
    bytes: int
    modified: int  # nanoseconds

    @classmethod
    def read(cls, part: Record) -> _Part:
        file, modified = part.text("file"), part.whole("modified", low=-(2**63))
        if Path(file).name != file:
            raise part.damaged(f"file is {file!r}; it must be a name in the folder")
        return cls(file, part.whole("rows"), part.text("sha256"), part.whole("bytes"), modified)


def _partials(folder: Path) -> list[Path]:
    return list(folder.parent.glob(f"{glob.escape(folder.name)}.*.partial"))


def _stamp(file: Path) -> dict[str, int]:
    status = file.stat()
    return {"bytes": status.st_size, "modified": status.st_mtime_ns}


def _refreshed(folder: Path, part: _Part) -> _Part:
    """A part with its file's time, if that is another than the manifest says though the content is the same."""
    file = folder / part.file
    if not file.is_file():
        raise UserError(f"{file} is missing; delete {folder} and make it again")
    stamp = _stamp(file)
    if stamp == {"bytes": part.bytes, "modified": part.modified}:
        return part
    try:
        same = stamp["bytes"] == part.bytes and _digest(_read_batch(file)) == part.sha256
    except (OSError, ValueError):
        same = False
    if not same:
        raise UserError(f"{file} has changed since it was written; delete {folder} and make it again")
    return part._replace(modified=stamp["modified"])


def _digest(batch: pa.RecordBatch) -> str:
    digest = hashlib.sha256(batch.column("row").flatten().to_numpy())
    if "label" in batch.schema.names:
        digest.update(batch.column("label").to_numpy())
    return digest.hexdigest()


def _read_batch(file: Path) -> pa.RecordBatch:
    import pyarrow as pa

    with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as reader:
        return reader.get_batch(0)
