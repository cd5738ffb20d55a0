"""A folder of image files, nested at will; first-level folders are classes where all images lie in one."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from mmd_ddm.data.decode import readable_formats
from mmd_ddm.data.readers.source import Item, printable, stamp
from mmd_ddm.errors import UserError


@lru_cache(maxsize=1)
def image_extensions() -> frozenset[str]:
    """Extensions, in lower case with their dot, of the formats that can be opened."""
    from PIL import Image

    formats = readable_formats()
    return frozenset(extension for extension, name in Image.registered_extensions().items() if name in formats)


class ImageFolder:
    """The image files below a folder, sorted by path; hidden files and folders are left out.

    Args:
        root: The folder.

    Raises:
        UserError: If it holds no image, or cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        found = sorted(_scan(root, "", set()))
        if not found:
            raise UserError(f"{printable(root)} holds no image; name a folder of images, Parquet files or an LMDB")
        self._files = tuple(name for name, _ in found)
        self.identity: dict[str, Any] = {"kind": "images", **stamp(found)}

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def _classes(self) -> dict[str, int]:
        """Class number of each first-level folder; empty where the images have no classes."""
        folders = {name.split("/", 1)[0] if "/" in name else "" for name in self._files}
        return {} if "" in folders or len(folders) < 2 else {name: i for i, name in enumerate(sorted(folders))}

    @property
    def labelled(self) -> bool:
        """Whether every image lies in one of at least two first-level folders."""
        return bool(self._classes)

    def name(self, row: int) -> str:
        """Path of an image."""
        return printable(self.root / self._files[row])

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Contents of the files `start` to `stop - 1`, with their classes."""
        for row in range(start, stop):
            name = self._files[row]
            try:
                content = (self.root / name).read_bytes()
            except OSError as error:
                raise UserError(f"{self.name(row)} cannot be read: {error.strerror}") from None
            yield content, self._classes.get(name.split("/", 1)[0])


def _scan(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, os.stat_result]]:
    here = folder
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:  # links may lead in circles
            return
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            visible = sorted((each for each in entries if not each.name.startswith(".")), key=lambda each: each.name)
        for each in visible:
            here = folder / each.name
            if each.is_dir():
                yield from _scan(here, f"{prefix}{each.name}/", seen)
            elif here.suffix.lower() in image_extensions() and stat.S_ISREG((status := each.stat()).st_mode):
                yield prefix + each.name, status
    except OSError as error:
        raise UserError(f"{printable(here)} cannot be read: {error.strerror}") from None
