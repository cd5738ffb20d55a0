"""Which reader fits what lies at a path."""

from __future__ import annotations

from pathlib import Path

from mmd_ddm.data.readers.cifar import Cifar10, cifar_form
from mmd_ddm.data.readers.folder import ImageFolder
from mmd_ddm.data.readers.hub import PREFIX, HubImages
from mmd_ddm.data.readers.lsun import DATA, Lmdb
from mmd_ddm.data.readers.parquet import ParquetImages, parquet_files
from mmd_ddm.data.readers.source import Source, printable
from mmd_ddm.errors import UserError

_FORMS = "a folder of images, Parquet files, an LMDB (data.mdb), or CIFAR-10 as published"


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


def _open_folder(path: Path) -> Source:
    if (path / DATA).is_file():
        return Lmdb(path)
    if (binary := cifar_form(path)) is not None:
        return Cifar10(path, binary)
    if files := parquet_files(path):
        return ParquetImages(path, files)
    return ImageFolder(path)


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
