"""Where results are kept between runs, and how processes share them: written whole or not at all, locked while made."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

HOME = "MMD_DDM_HOME"
SHARED = "MMD_DDM_SHARED"
_log = logging.getLogger(__name__)


def cache_home() -> Path:
    """Return the folder of prepared images, banks and converted models: $MMD_DDM_HOME, or ~/.cache/mmd-ddm."""
    return Path(os.environ.get(HOME) or "~/.cache/mmd-ddm").expanduser().absolute()


def shared_home() -> Path | None:
    """Return the folder that all machines of a cluster share, $MMD_DDM_SHARED; None if none is named."""
    named = os.environ.get(SHARED)
    return Path(named).expanduser().absolute() if named else None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file or a folder so that its name never stands for half of it; what stands there is replaced.

    Yields a free name beside it to write to, which becomes `path` at the end of the block. After an error nothing is
    left of it, and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.urandom(4).hex()}")  # workers on several machines may have equal pids
    try:
        yield half
        _open_to_others(half)
        if half.is_dir() and path.exists():  # a folder can't be renamed onto another
            former = former_of(path)
            remove(former)
            path.rename(former)
            half.rename(path)
            remove(former)
        else:
            half.replace(path)
    except Exception as error:
        if not isinstance(error, OSError) and os.strerror(errno.ENOSPC) in str(error):  # of safetensors, of PyTorch
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise
    finally:
        remove(half)


def _open_to_others(written: Path) -> None:
    """Let whom the umask lets read what was written: safetensors makes its files for their owner alone."""
    with suppress(OSError, ValueError, StopIteration):  # /proc is Linux's
        lines = Path("/proc/self/status").read_text().splitlines()
        allowed = 0o666 & ~int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
        for file in written.rglob("*") if written.is_dir() else [written]:
            mode = stat.S_IMODE(file.stat().st_mode)
            if file.is_file() and mode | allowed != mode:
                file.chmod(mode | allowed)


def former_of(folder: Path) -> Path:
    """Return where the former content of a folder stands while it is replaced: whole, if a crash left nothing else."""
    return folder.with_name(f"{folder.name}.former")


def remove(path: Path) -> None:
    """Remove a file or a folder with its content, if there is one."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # a folder that others fill, or nothing
        path.unlink()


def nearest_existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that is there."""
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def absent(folder: Path) -> list[Path]:
    """Return the folder and those above it that are not there, each before the one that it lies in."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, such as `absent` ones that were made in vain; those that hold something stay."""
    for each in folders:
        with suppress(OSError):
            each.rmdir()


def digest_of(content: object) -> str:
    """Return 16 hexadecimal digits that tell some content, as JSON can hold it, from any other."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_whole(file: Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    with replacing(file) as half:
        half.write_text(text)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, complete or not at all."""
    write_whole(path, json.dumps(content, indent=1))


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock, which one process or thread has at a time, and which ends with its process, however that ends.

    The file stays when the lock is released: whoever waits for it would hold the removed one, and the next a new one.
    It may be removed by a holder after whom nobody does anything any more.

    Yields whether the lock is held: not if another process has it, unless that is waited for, nor if one moves the
    file's folder away.
    """
    lock = FileLock(file)
    with suppress(FileNotFoundError, FileExistsError):  # its folder, which filelock makes, is moved away meanwhile
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if wait:
                _log.info("waiting for another process, which holds %s", file)
                lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()
