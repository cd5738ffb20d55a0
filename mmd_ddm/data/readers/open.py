"""Which reader fits what lies at a path."""

from __future__ import annotations

from pathlib import Path

from mmd_ddm.data.readers.cifar import Cifar10, cifar_form
from mmd_ddm.data.readers.folder import ImageFolder, walk
from mmd_ddm.data.readers.hub import PREFIX, HubImages
from mmd_ddm.data.readers.lsun import DATA, Lmdb
from mmd_ddm.data.readers.parquet import ParquetImages
from mmd_ddm.data.readers.source import Source, printable
from mmd_ddm.errors import UserError

_FORMS = "a folder of images, Parquet files, an LMDB (data.mdb), or CIFAR-10 as published"
_walked: dict[str, ImageFolder] = {}  # by their path


def open_source(spec: str) -> Source:
    """Open a source of images.

    Args:
        spec: A path, or `hub:OWNER/NAME@REVISION:FILES`.

    Returns:
        The reader that fits; one of the hub has downloaded nothing yet.

    Raises:
        UserError: If nothing is there, or nothing that a reader knows.
    """
    if spec.startswith(PREFIX):
        return HubImages(spec)
    path = Path(spec).expanduser().absolute()
    try:
        if not path.exists():
            raise UserError(f"{printable(path)} is not there; name {_FORMS}")
        return _open_folder(path) if path.is_dir() else _open_file(path)
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read: {error.strerror}") from None


def known_source(spec: str) -> Source:
    """Open a source of images as `open_source` does, but walk an image folder only once a process.

    It is walked again after files were added, removed or renamed; a file that is overwritten under its name is noticed
    by the next process.
    """
    path = spec if spec.startswith(PREFIX) else str(Path(spec).expanduser().absolute())
    known = _walked.get(path)
    if known is not None and known.is_current():
        return known
    source = open_source(path)
    if isinstance(source, ImageFolder):
        _walked[path] = source
    return source


def _open_folder(path: Path) -> Source:
    if (path / DATA).is_file():
        return Lmdb(path)
    if (binary := cifar_form(path)) is not None:
        return Cifar10(path, binary)
    found = walk(path)
    return ParquetImages(path, found.tables) if found.tables else ImageFolder(path, found)


def _open_file(path: Path) -> Source:
    if path.stat().st_size == 0:
        raise UserError(f"{printable(path)} is empty; name {_FORMS}")
    if path.suffix.lower() == ".parquet":
        return ParquetImages(path.parent, [path])
    if path.name == DATA:
        return Lmdb(path.parent)
    if (binary := cifar_form(path)) is not None:
        return Cifar10(path, binary)
    raise UserError(f"{printable(path)} is a file of no known kind; name {_FORMS}")
