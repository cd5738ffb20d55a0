"""Where what was computed once is kept between runs, and locks so that one process computes it while others wait."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME = "MMD_DDM_HOME"


def cache_home() -> Path:
    """Return the folder of prepared images, banks and converted models: $MMD_DDM_HOME, or ~/.cache/mmd-ddm."""
    return Path(os.environ.get(HOME) or "~/.cache/mmd-ddm").expanduser().absolute()


def write_whole(file: Path, text: str) -> None:
    """Write a file so that its name never stands for half of it."""
    half = file.with_name(f".{file.name}.{os.getpid()}")
    half.write_text(text)
    half.replace(file)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of a file, waiting for it as long as another process has it.

    A lock ends with its process, however that ends, so what was killed blocks nobody.

    Args:
        file: made if it is not there; its content means nothing.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Claims:
    """Numbered pieces of work that processes take from one another's view, one process a piece; freed at its end.

    Args:
        file: The same for all processes; its content means nothing.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._handle = file.open("a")

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.close()

    def take(self, number: int) -> bool:
        """Take a piece of work, if no other process has it."""
        try:
            fcntl.lockf(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # either may say that it is locked
            return False
        return True
