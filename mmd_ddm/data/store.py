"""Rows of one type and shape, images or features, in a folder of memory-mapped Arrow files.

A folder holds parts, `part-00012.arrow`, each one record batch of a fixed-size list a row, and `rows.json`, which is
written last. While it is being made it has another name, so that a folder under its final name is whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.files import locked, write_whole

MANIFEST = "rows.json"
PARTIAL = ".partial"
_KEY = "key.json"
_OPEN_PARTS = 4096  # maps of one process
_DTYPES = {"uint8": torch.uint8, "float16": torch.float16, "float32": torch.float32}


class Rows:
    """M rows, opened for reading; opening reads a manifest, and pages come from disk as they are touched.

    Args:
        folder: Its folder.
        manifest: Content of its manifest.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.dtype = _DTYPES[manifest["dtype"]]
        self.shape: tuple[int, ...] = tuple(manifest["shape"])
        self.record: dict[str, Any] = {**manifest["record"], "fingerprint": manifest["fingerprint"]}
        self.fingerprint: str = manifest["fingerprint"]
        self._parts = [each for each in manifest["parts"] if each["rows"]]
        self._ends = list(accumulate(each["rows"] for each in self._parts))
        self._labelled = all(each["labelled"] for each in self._parts)

    @classmethod
    def open(cls, folder: Path) -> Rows:
        """Open a folder that `RowWriter.finish` completed.

        A part that was touched since it was written is read again and compared with its checksum.

        Raises:
            UserError: If the folder is half-written, damaged, or changed since.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            rows = cls(folder, manifest)
        except FileNotFoundError:
            half = any(folder.glob("part-*")) or folder.with_name(folder.name + PARTIAL).exists()
            state = "is only half-written; make it again, which goes on where it stopped" if half else "is not there"
            raise UserError(f"{folder} {state}") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{folder / MANIFEST} is damaged ({error}); delete the folder and make it again") from None
        _check_parts(folder, manifest)
        return rows

    def __reduce__(self) -> tuple[Any, ...]:
        return Rows.open, (self.folder,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, indices: slice | Tensor) -> Tensor:
        """Rows (n, *shape). A slice within one part is a view of the file, not to be written to."""
        if isinstance(indices, slice):
            start, stop, step = indices.indices(len(self))
            return self._range(start, max(start, stop)) if step == 1 else self[torch.arange(start, stop, step)]
        chosen = torch.as_tensor(indices).cpu().long()
        if len(chosen) and not (-len(self) <= int(chosen.min()) and int(chosen.max()) < len(self)):
            raise IndexError(f"indices must lie within the {len(self)} rows")
        chosen = torch.where(chosen < 0, chosen + len(self), chosen)
        result = torch.empty((len(chosen), *self.shape), dtype=self.dtype)
        order = torch.argsort(chosen)  # one part after the other, in the order of the disk
        ends = torch.tensor(self._ends)
        for part in torch.unique(torch.bucketize(chosen, ends, right=True)).tolist():
            first = self._ends[part - 1] if part else 0
            low, high = torch.searchsorted(chosen[order], torch.tensor([first, self._ends[part]])).tolist()
            where = order[low:high]
            result[where] = self._part(part)[chosen[where] - first]
        return result

    def pieces(self, size: int) -> Iterator[Tensor]:
        """All rows in order, at most `size` at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @cached_property
    def labels(self) -> Tensor | None:
        """Class numbers (M,), int64; None where the rows have none."""
        if not self._labelled or not self._parts:
            return None
        columns = [_read_batch(self._file(i)).column("label").to_numpy() for i in range(len(self._parts))]
        return torch.cat([torch.from_numpy(column.copy()) for column in columns])

    def _range(self, start: int, stop: int) -> Tensor:
        found, at = [], start
        while at < stop:
            part = bisect_right(self._ends, at)
            first = self._ends[part - 1] if part else 0
            until = min(stop, self._ends[part])
            found.append(self._part(part)[at - first : until - first])
            at = until
        if not found:
            return torch.empty((0, *self.shape), dtype=self.dtype)
        return found[0] if len(found) == 1 else torch.cat(found)

    def _part(self, number: int) -> Tensor:
        return _map_part(self._file(number), self.shape)

    def _file(self, number: int) -> Path:
        return self.folder / self._parts[number]["file"]


class RowWriter:
    """Makes a folder of rows, part by part, in any order, from any number of processes; goes on after a kill.

    Args:
        folder: Its final name; until `finish` all is under another.
        dtype: uint8, float16 or float32.
        shape: Of one row.
        parts: How many parts there will be.
        key: What the rows are made of, as JSON can hold it; parts made of something else are thrown away.
    """

    def __init__(
        self, folder: Path, *, dtype: torch.dtype, shape: tuple[int, ...], parts: int, key: Mapping[str, Any]
    ) -> None:
        self.folder, self.partial = folder, folder.with_name(folder.name + PARTIAL)
        self.dtype, self.shape, self.parts = dtype, tuple(shape), parts
        self._name = str(dtype).removeprefix("torch.")
        self._key = json.dumps({**key, "dtype": self._name, "shape": shape, "parts": parts}, sort_keys=True)
        with locked(self._lock):
            if self.partial.is_dir() and _text(self.partial / _KEY) != self._key:
                shutil.rmtree(self.partial)
            self.partial.mkdir(parents=True, exist_ok=True)
            write_whole(self.partial / _KEY, self._key)

    @property
    def _lock(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}.lock")

    def file(self, part: int) -> Path:
        """Where a part lies until the folder is finished."""
        return self.partial / f"part-{part:05d}.arrow"

    def missing(self) -> list[int]:
        """Numbers of the parts that are not written yet."""
        return [part for part in range(self.parts) if not self.file(part).is_file()]

    def write(
        self, part: int, rows: Tensor, labels: Tensor | None = None, note: Mapping[str, Any] | None = None
    ) -> None:
        """Write a part whole, or nothing of it.

        Args:
            part: Its number.
            rows: (n, *shape), any n.
            labels: (n,) int64, for all parts or for none.
            note: What `notes` shall return for it, as JSON can hold it.
        """
        import pyarrow as pa

        if rows.dtype != self.dtype or tuple(rows.shape[1:]) != self.shape:
            raise ValueError(f"rows are {rows.dtype} {tuple(rows.shape[1:])}, not {self.dtype} {self.shape}")
        flat = pa.array(rows.contiguous().flatten().numpy())
        columns = {"row": pa.FixedSizeListArray.from_arrays(flat, math.prod(self.shape))}
        digest = hashlib.sha256(rows.contiguous().numpy().tobytes())
        if labels is not None:
            columns["label"] = pa.array(labels.numpy())
            digest.update(labels.numpy().tobytes())
        batch = pa.record_batch(columns)
        about = {
            "rows": len(rows), "sha256": digest.hexdigest(), "labelled": labels is not None, "note": dict(note or {}),
        }  # fmt: skip
        schema = batch.schema.with_metadata({"part": json.dumps(about)})
        half = self.file(part).with_suffix(".tmp")
        try:
            with pa.OSFile(str(half), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            half.replace(self.file(part))
        finally:
            half.unlink(missing_ok=True)

    def notes(self) -> list[dict[str, Any]]:
        """The notes of all parts that are written, in their order."""
        written = [part for part in range(self.parts) if self.file(part).is_file()]
        return [_about(self.file(part))["note"] for part in written]

    def finish(self, record: Mapping[str, Any]) -> Rows:
        """Give the folder its final name, once every part is there; the first of several processes does it.

        Args:
            record: What `Rows.record` shall hold, as JSON can hold it.
        """
        with locked(self._lock):
            if self._is_finished():  # another process was first
                shutil.rmtree(self.partial, ignore_errors=True)
                return Rows.open(self.folder)
            if missing := self.missing():
                raise RuntimeError(f"{len(missing)} of {self.parts} parts of {self.folder} are not written yet")
            manifest = self._manifest(record)
            write_whole(self.partial / MANIFEST, json.dumps(manifest, indent=1))
            if (self.folder / MANIFEST).is_file():
                shutil.rmtree(self.folder)
            self.partial.rename(self.folder)
        return Rows.open(self.folder)

    def _is_finished(self) -> bool:
        return (self.folder / MANIFEST).is_file() and _text(self.folder / _KEY) == self._key

    def _manifest(self, record: Mapping[str, Any]) -> dict[str, Any]:
        parts = []
        for part in range(self.parts):
            about = _about(self.file(part))
            about.pop("note")
            parts.append({"file": self.file(part).name, **about, **_touched(self.file(part))})
        contents = [self._name, list(self.shape), [each["sha256"] for each in parts]]
        fingerprint = hashlib.sha256(json.dumps(contents).encode()).hexdigest()
        return {
            "dtype": self._name, "shape": self.shape, "record": dict(record), "fingerprint": fingerprint,
            "parts": parts,
        }  # fmt: skip


def _check_parts(folder: Path, manifest: Mapping[str, Any]) -> None:
    moved = False
    for each in manifest["parts"]:
        file = folder / each["file"]
        if not file.is_file():
            raise UserError(f"{file} is missing; delete {folder} and make it again")
        if _touched(file) == {"bytes": each["bytes"], "modified": each["modified"]}:
            continue
        if file.stat().st_size != each["bytes"] or _digest(file) != each["sha256"]:
            raise UserError(f"{file} has changed since it was written; delete {folder} and make it again")
        each.update(_touched(file))
        moved = True
    if moved:  # copied, with other dates: compared once, not at every opening
        try:
            write_whole(folder / MANIFEST, json.dumps(manifest, indent=1))
        except OSError:
            return  # a folder that may only be read


def _touched(file: Path) -> dict[str, int]:
    status = file.stat()
    return {"bytes": status.st_size, "modified": status.st_mtime_ns}


def _digest(file: Path) -> str:
    try:
        batch = _read_batch(file)
    except (OSError, ValueError):
        return ""
    digest = hashlib.sha256(batch.column("row").flatten().to_numpy().tobytes())
    if "label" in batch.schema.names:
        digest.update(batch.column("label").to_numpy().tobytes())
    return digest.hexdigest()


def _about(file: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(_read_batch(file).schema.metadata[b"part"])
    return about


def _read_batch(file: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(file)) as source, pa.ipc.open_file(source) as reader:
        return reader.get_batch(0)


@lru_cache(maxsize=_OPEN_PARTS)
def _map_part(file: Path, shape: tuple[int, ...]) -> Tensor:
    values = _read_batch(file).column("row").flatten().to_numpy(zero_copy_only=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values).view(-1, *shape)


def _text(file: Path) -> str | None:
    return file.read_text() if file.is_file() else None
