import gzip
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest

from mmd_ddm.data.readers import cifar
from mmd_ddm.data.readers.open import open_source
from mmd_ddm.errors import UserError
from tests.data.reading import refused
from tests.data.sources import (
    classes,
    damage,
    pictures,
    python2_pickle,
    write_cifar,
)


def bomb(file: Path, header: tarfile.TarInfo, size: int) -> None:
    """An archive of a member that claims so many bytes, with a few of them, all zero."""
    header.size = size
    with gzip.open(file, "wb", compresslevel=1) as stream:
        stream.write(header.tobuf(tarfile.GNU_FORMAT))
        stream.write(bytes(size // 10_000))


@pytest.mark.parametrize("kind", ["batch", "other", "name"])
def test_archive_that_unpacks_without_end_is_refused(kind: str, tmp_path: Path) -> None:
    header = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin" if kind == "batch" else "x")
    if kind == "name":
        header.type = tarfile.GNUTYPE_LONGNAME
    bomb(tmp_path / "cifar-10-binary.tar.gz", header, 5 * 2**30)
    source = open_source(str(tmp_path / "cifar-10-binary.tar.gz"))
    with pytest.raises(UserError, match=r"damaged or incomplete .*(which nothing in CIFAR-10 has|CIFAR-10 does not)"):
        next(source.read(0, 1))


# CIFAR-10


def cifar_folder(root: Path, monkeypatch: pytest.MonkeyPatch, binary: bool, packed: bool = False) -> Path:
    monkeypatch.setattr(cifar, "BATCH", 2)
    return write_cifar(root, pictures(10), classes(10), binary, packed)


def test_published_number_of_images() -> None:
    assert cifar.BATCH * cifar.BATCHES == 50_000


@pytest.mark.parametrize("binary", [True, False])
def test_incomplete_cifar(binary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cifar_folder(tmp_path, monkeypatch, binary)
    third = sorted(folder.iterdir())[2]
    whole = third.read_bytes()
    damage(third, lambda content: content[:-1])
    refused(folder, r"data_batch_3.*(incomplete|damaged)")
    monkeypatch.setattr(cifar, "BATCH", 3)
    third.write_bytes(whole)
    refused(folder, "holds 2 images, not 3")
    third.unlink()
    refused(folder, r"data_batch_3\S* is missing")


@pytest.mark.parametrize("binary", [True, False])
def test_cut_archive(binary: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = cifar_folder(tmp_path, monkeypatch, binary, packed=True)
    damage(archive, lambda content: content[: len(content) // 2])
    refused(archive, "is damaged or incomplete")
    archive.write_text("text")
    refused(archive, "is damaged or incomplete")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("pickled", [pickle.dumps, python2_pickle])
def test_a_pickle_cannot_run_anything(pickled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = cifar_folder(tmp_path, monkeypatch, binary=False)
    (folder / "data_batch_1").write_bytes(pickled({"data": Evil(), "labels": [0, 1]}))
    refused(folder, r"data_batch_1.*names (posix|os)\.mkdir")
    assert not (tmp_path / "evil").exists()
    for name in (b"cnumpy\nload\n.", b"cnumpy.core.multiarray\nscalar\n.", b"cbuiltins\neval\n."):
        (folder / "data_batch_1").write_bytes(b"\x80\x02" + name)
        refused(folder, r"which no batch of CIFAR-10 does")
