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
    """Open the reader that fits a path, or `hub:OWNER/NAME@REVISION:FILES`, of which nothing is downloaded yet.

    Raises:
        UserError: If nothing is there, or nothing that a reader knows.
    """
    if spec.startswith(PREFIX):
        return HubImages(spec)
    path = Path(absolute(spec))
    try:
        if not path.exists():
            raise UserError(f"{printable(path)} is not there; name {_FORMS}")
        return _open(path)
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read: {error.strerror}") from None


def known_source(spec: str) -> Source:
    """Open a source of images as `open_source` does, but walk an image folder only once a process.

    It is walked again after files were added, removed or renamed; a file that is overwritten under its name is noticed
    by the next process.
    """
    path = absolute(spec)
    known = _walked.get(path)
    if known is not None and known.is_current():
        return known
    source = open_source(path)
    if isinstance(source, ImageFolder):
        _walked[path] = source
    return source


def absolute(spec: str) -> str:
    """Return a path, if it is one, as processes with another working directory have it too."""
    return spec if spec.startswith(PREFIX) else str(Path(spec).expanduser().absolute())


def _open(path: Path) -> Source:
    is_folder = path.is_dir()
    if not is_folder and path.stat().st_size == 0:
        raise UserError(f"{printable(path)} is empty; name {_FORMS}")
    if (path / DATA).is_file() if is_folder else path.name == DATA:
        return Lmdb(path if is_folder else path.parent)
    if (binary := cifar_form(path)) is not None:
        return Cifar10(path, binary)
    if is_folder:
        found = walk(path)
        return ParquetImages(path, found.tables) if found.tables else ImageFolder(path, found)
    if path.suffix.lower() == ".parquet":
        return ParquetImages(path.parent, [path])
    raise UserError(f"{printable(path)} is a file of no known kind; name {_FORMS}")
