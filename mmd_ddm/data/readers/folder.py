"""A folder of image files, nested at will; first-level folders are classes where all images lie in one."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from mmd_ddm.data.decode import readable_formats
from mmd_ddm.data.readers.source import Item, printable, stamp
from mmd_ddm.errors import UserError

_SETTLED = 2 * 10**9  # ns after which another change of a folder has another time, on any file system


@lru_cache(maxsize=1)
def image_extensions() -> frozenset[str]:
    """Extensions, in lower case with their dot, of the formats that can be opened."""
    from PIL import Image

    formats = readable_formats()
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in formats)


class Walk(NamedTuple):
    """What lies in a folder and below it; hidden files and folders are left out."""

    started: int  # nanoseconds since the epoch
    images: list[tuple[str, os.stat_result]]  # by their path within the folder
    tables: list[Path]  # Parquet files
    folders: dict[tuple[int, int], tuple[Path, int]]  # by device and inode, with their time of modification


def walk(root: Path) -> Walk:
    """Walk over a folder; UserError if something in it cannot be read."""
    found = Walk(time.time_ns(), [], [], {})
    _scan(root, "", found)
    found.images.sort()
    found.tables.sort()
    return found


class ImageFolder:
    """The image files found below a folder, sorted by path; UserError if there is none."""

    def __init__(self, root: Path, found: Walk) -> None:
        self.root = root
        if not found.images:
            raise UserError(f"{printable(root)} holds no image; name a folder of images, Parquet files or an LMDB")
        self.files = tuple(name for name, _ in found.images)
        self._walked, self._folders = found.started, found.folders
        self.identity: dict[str, object] = {"kind": "images", **stamp(found.images)}

    def is_current(self) -> bool:
        """Whether no file was added, removed or renamed since the walk; that one was overwritten is not noticed."""
        try:
            now = [path.stat() for path, _ in self._folders.values()]
        except OSError:
            return False
        return all(
            (status.st_dev, status.st_ino) == inode and status.st_mtime_ns == modified < self._walked - _SETTLED
            for status, (inode, (_, modified)) in zip(now, self._folders.items(), strict=True)
        )

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def _classes(self) -> dict[str, int]:
        """Class number of each first-level folder; empty where the images have no classes."""
        folders = {name.split("/", 1)[0] if "/" in name else "" for name in self.files}
        return {} if "" in folders or len(folders) < 2 else {name: i for i, name in enumerate(sorted(folders))}

    @property
    def labelled(self) -> bool:
        """Whether every image lies in one of at least two first-level folders."""
        return bool(self._classes)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The first-level folders, where they are classes."""
        return tuple(self._classes) or None

    @property
    def class_of(self) -> str | None:
        """Which folders are classes, in words."""
        return "level 1 of the folders" if self.labelled else None

    def name(self, row: int) -> str:
        """Path of an image."""
        return printable(self.root / self.files[row])

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Contents of the files `start` to `stop - 1`, with their classes."""
        for row in range(start, stop):
            name = self.files[row]
            try:
                content = (self.root / name).read_bytes()
            except OSError as error:
                raise UserError(f"{self.name(row)} cannot be read: {error.strerror}") from None
            yield content, self._classes.get(name.split("/", 1)[0])


def _scan(folder: Path, prefix: str, found: Walk) -> None:
    here = folder
    try:
        status = folder.stat()
        inode = status.st_dev, status.st_ino
        if inode in found.folders:  # links may lead in circles
            return
        found.folders[inode] = folder, status.st_mtime_ns
        with os.scandir(folder) as entries:
            visible = sorted((each for each in entries if not each.name.startswith(".")), key=lambda each: each.name)
        for each in visible:
            here = folder / each.name
            if each.is_dir():
                _scan(here, f"{prefix}{each.name}/", found)
            elif here.suffix == ".parquet" and here.is_file():
                found.tables.append(here)
            elif here.suffix.lower() in image_extensions() and stat.S_ISREG((status := each.stat()).st_mode):
                found.images.append((prefix + each.name, status))
    except OSError as error:
        raise UserError(f"{printable(here)} cannot be read: {error.strerror}") from None
