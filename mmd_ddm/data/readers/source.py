"""What every reader offers: a numbered list of encoded or decoded images, and a name to blame for each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Content: TypeAlias = bytes | NDArray[np.uint8]  # an encoded file, or pixels C x H x W
Item: TypeAlias = tuple[Content, int | None]  # with its class, where the source has classes


class Source(Protocol):
    """M images in a fixed order; picklable, and cheap to open again in another process."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells this source from others and from its own later states, as JSON can hold it."""

    @property
    def labelled(self) -> bool:
        """Whether every image has a class number of at least 0."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, by number; None where there are none, or only numbers."""

    @property
    def class_of(self) -> str | None:
        """What the class of an image is, in words; None where it has none."""

    def __len__(self) -> int: ...

    def name(self, row: int) -> str:
        """What an error message calls an image: its file, and its row there."""

    def read(self, start: int, stop: int) -> Generator[Item, None, None]:
        """Images `start` to `stop - 1`, as they are stored."""


def stamp(files: Iterable[tuple[str, os.stat_result]]) -> dict[str, object]:
    """Tell a set of files from another, and from itself after a change, by names, sizes and times of modification."""
    digest, sizes = hashlib.sha256(), list[int]()
    for name, status in files:
        digest.update(os.fsencode(name) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        sizes.append(status.st_size)
    return {"files": len(sizes), "bytes": sum(sizes), "sha256": digest.hexdigest()}


def printable(path: os.PathLike[str] | str) -> str:
    """A path as text that can be printed, whatever bytes it is made of."""
    return os.fsencode(path).decode(errors="replace")
