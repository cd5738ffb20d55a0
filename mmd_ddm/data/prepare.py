"""Prepare a data set once: decode, crop and resize all images into a store that is read at no cost ever after.

The work is cut into parts of a fixed number of images, spread over processes. A part is there whole or not at all, so
what was killed goes on where it stopped, and gives the same store as if it had not been.
"""

from __future__ import annotations

import errno
import logging
import math
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from mmd_ddm.data.crop import TooSmallError, UnfitImageError
from mmd_ddm.data.decode import CorruptImageError, decode
from mmd_ddm.data.names import MANIFEST
from mmd_ddm.data.readers.labels import with_labels
from mmd_ddm.data.readers.open import known_source
from mmd_ddm.data.readers.source import Source
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.data.store import Rows, RowWriter
from mmd_ddm.data.worker_pool import run_parts
from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home, digest_of

VERSION = 1  # of what is made of an image, and of the parts: another number makes all stores anew
FEWEST = 8  # images of a data set
NAMED = 100  # images left out whose names are recorded
_PART_BYTES, _PART_ROWS = 2**25, 4096
_log = logging.getLogger(__name__)


def prepare(
    spec: DatasetSpec,
    folder: Path,
    *,
    processes: int | None = None,
    skip_corrupt: bool = False,
    skip_small: bool = False,
) -> Rows:
    """Prepare the images of a data set that is not embedded in a folder, or open what is prepared there already.

    Args:
        spec: The data set.
        folder: Of the store.
        processes: How many decode; None: one a core.
        skip_corrupt: Leave out files that cannot be decoded, and record how many and which.
        skip_small: Leave out images that are smaller than the resolution, likewise.

    Raises:
        UserError: If the source, one of its images, the folder or the disk is not fit for it.
    """
    if processes is not None and processes < 1:
        raise UserError(f"the number of processes is {processes}; it must be at least 1")
    source = _source(spec)
    if len(source) < FEWEST:
        raise UserError(f"{spec.origin} holds {len(source)} images; a data set has at least {FEWEST}")
    if not spec.given and len(source) != spec.size:
        raise UserError(
            f"{spec.origin} holds {len(source)} images, but {spec.name} has {spec.size}; the download is incomplete or "
            "has changed: delete it and download it again, or name the images with --data PATH"
        )
    key = _key(spec, source)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{folder} exists already and is no store of images; name another folder")
        return Rows(folder, key)
    shape = (spec.channels, spec.resolution, spec.resolution)
    rows = max(1, min(_PART_ROWS, _PART_BYTES // math.prod(shape)))
    made = [each for each in folder.parents if not each.exists()]
    writer = RowWriter(folder, dtype=torch.uint8, shape=shape, parts=-(-len(source) // rows), key=key)
    skip = (*([CorruptImageError] if skip_corrupt else []), *([TooSmallError] if skip_small else []))
    try:
        return _prepare(_Work(spec, source, writer, spec.labelled and source.labelled, rows, skip), processes)
    except UserError:
        writer.discard_empty()
        for each in made:
            with suppress(OSError):  # it holds other things
                each.rmdir()
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        needed = f"{len(source) * math.prod(shape) / 1e9:.2g} GB in all"
        hint = "make room and run it again, which goes on where it stopped"
        raise UserError(f"no space is left for {folder}, which needs {needed}; {hint}") from None


def store_folder(spec: DatasetSpec) -> Path:
    """Return where the prepared images of a data set are kept: a folder for each state of its source."""
    return cache_home() / "stores" / f"{spec.name}-{spec.resolution}-{digest_of(_key(spec, _source(spec)))}"


@dataclass(frozen=True)
class _Work:
    """What a process has to know to make a part, unless another process does; returns the number of its images."""

    spec: DatasetSpec
    source: Source
    writer: RowWriter
    labelled: bool
    part_rows: int
    skip: tuple[type[Exception], ...]  # what leaves an image out

    def __call__(self, part: int) -> int:
        with self.writer.claim(part) as mine:
            return self._make(part) if mine else 0

    def _make(self, part: int) -> int:
        row = start = part * self.part_rows
        stop = min(start + self.part_rows, len(self.source))
        rows = torch.empty((stop - start, *self.writer.shape), dtype=torch.uint8)
        labels, skipped = list[int](), list[int]()
        try:
            # closed before an image is named: some sources cannot be opened twice
            with closing(self.source.read(start, stop)) as items:
                for row, (content, label) in enumerate(items, start):
                    try:
                        pixels = decode(content, self.spec.channels, self.spec.crop, self.spec.resolution)
                    except self.skip:
                        skipped.append(row)
                    else:
                        rows[len(labels)] = torch.from_numpy(pixels)
                        labels.append(-1 if label is None else label)
        except CorruptImageError as error:
            hint = "mend or remove it, or leave out what is damaged with --skip-corrupt"
            raise UserError(f"{self.source.name(row)} {error}; {hint}") from None
        except UnfitImageError as error:
            raise UserError(f"{self.source.name(row)} {error}") from None
        classes = torch.tensor(labels, dtype=torch.int64) if self.labelled else None
        self.writer.write(part, rows[: len(labels)], classes, [self.source.name(row) for row in skipped])
        return len(labels)


def _prepare(work: _Work, processes: int | None) -> Rows:
    name, writer, total = work.spec.name, work.writer, len(work.source)
    if not work.skip and (earlier := len(writer.notes())):
        said = f"an earlier run with --skip-corrupt or --skip-small left out {earlier} images of {writer.partial}"
        raise UserError(f"{said}; go on with the same options, or delete that folder")
    parts, missing = len(writer.files), writer.missing()
    if len(missing) < parts:
        _log.info("%d of %d parts are there from an earlier run", parts - len(missing), parts)
    run_parts(work, missing, f"preparing {name}", processes)
    skipped = writer.notes()
    images = total - len(skipped)
    if images < FEWEST:
        raise UserError(f"{images} of the {total} images could be used; a data set has at least {FEWEST}")
    record: dict[str, object] = {"images": images, "skipped": len(skipped), "skipped names": skipped[:NAMED]}
    if work.labelled:
        record |= {"class of": work.source.class_of, "classes": work.source.classes}
    return writer.finish({"data set": name, **record})


def _source(spec: DatasetSpec) -> Source:
    if spec.origin is None:
        raise UserError(f"{spec.name} comes with the package; there is nothing to prepare")
    if (Path(spec.origin).expanduser() / MANIFEST).is_file():
        raise UserError(f"{spec.origin} is prepared already; use it as it is")
    source = known_source(spec.origin)
    return source if spec.labels is None else with_labels(source, spec.labels)


def _key(spec: DatasetSpec, source: Source) -> dict[str, object]:
    form = {"channels": spec.channels, "resolution": spec.resolution, "labelled": spec.labelled}
    return {"source": source.identity, "crop": asdict(spec.crop), "version": VERSION, **form}
