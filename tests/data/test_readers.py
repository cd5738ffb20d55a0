import gzip
import io
import json
import os
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmd_ddm.data.readers import cifar
from mmd_ddm.data.readers.hub import HubImages
from mmd_ddm.data.readers.open import open_source
from mmd_ddm.data.readers.source import Content
from mmd_ddm.errors import UserError
from tests.data.sources import (
    IMAGES,
    classes,
    damage,
    later,
    pictures,
    png,
    python2_pickle,
    write_cifar,
    write_folder,
    write_lmdb,
    write_parquet,
)  # fmt: skip

FORMS = ["folder", "parquet", "parquets", "lmdb", "hub", "cifar-bin", "cifar-bin.tar", "cifar-py", "cifar-py.tar"]


class Made:
    """A source of `IMAGES` known images, or 10 of them for CIFAR, in one of the forms."""

    def __init__(self, form: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        number = 10 if form.startswith("cifar") else IMAGES
        self.images, labels = pictures(number), classes(number)
        contents = [png(each) for each in self.images]
        self.labels: list[int] | None = labels
        self.spec = ""
        if form == "folder":
            self.spec = str(write_folder(root / "images", self.images))
            self.labels = [i * 3 // IMAGES for i in range(IMAGES)]
        elif form in ("parquet", "hub"):
            file = write_parquet(root / "plain" / "train-0.parquet", contents, labels)
            self.spec = str(file) if form == "parquet" else "hub:someone/images@main:plain/train-*.parquet"
            write_parquet(root / "plain" / "test-0.parquet", contents[:3], labels[:3])
            monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(root))
        elif form == "parquets":
            write_parquet(root / "deep" / "b" / "0.parquet", contents[6:], labels[6:], group=2)
            write_parquet(root / "deep" / "a.parquet", contents[:6], labels[:6], group=100)
            self.spec = str(root / "deep")
        elif form == "lmdb":
            self.spec = str(write_lmdb(root / "church_lmdb", contents))
            self.labels = None
        else:
            monkeypatch.setattr(cifar, "BATCH", 2)
            self.spec = str(write_cifar(root, self.images, labels, "bin" in form, form.endswith("tar")))


@pytest.fixture(params=FORMS)
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(request.param, tmp_path, monkeypatch)


def pixels(content: Content) -> np.ndarray:
    if isinstance(content, bytes):
        return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
    return content


def test_images_and_classes_come_in_order(made: Made) -> None:
    source = open_source(made.spec)
    assert len(source) == len(made.images)
    found = list(source.read(0, len(source)))
    assert np.array_equal(np.stack([pixels(content) for content, _ in found]), made.images)
    assert [label for _, label in found] == (made.labels or [None] * len(found))
    assert source.labelled == (made.labels is not None)


def test_any_range_gives_the_same_after_a_journey_to_another_process(made: Made) -> None:
    source = open_source(made.spec)
    whole = [pixels(content).tobytes() for content, _ in source.read(0, len(source))]
    copy = pickle.loads(pickle.dumps(source))
    for start, stop in ((0, 1), (3, 9), (1, len(source)), (5, 5), (8, 10)):
        for each in (source, copy):
            assert [pixels(content).tobytes() for content, _ in each.read(start, stop)] == whole[start:stop]


def test_names_tell_images_apart(made: Made) -> None:
    source = open_source(made.spec)
    assert len({source.name(row) for row in range(len(source))}) == len(source)


def test_identity_is_stable_and_notices_a_change(made: Made) -> None:
    identity = open_source(made.spec).identity
    assert json.loads(json.dumps(identity)) == identity
    assert open_source(made.spec).identity == identity
    if made.spec.startswith("hub:"):
        return  # its revision is its state
    path = Path(made.spec)
    later(path if path.is_file() else next(each for each in sorted(path.rglob("*")) if each.is_file()))
    assert open_source(made.spec).identity != identity


def refused(spec: str | Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        everything(str(spec))


def everything(spec: str) -> list[Any]:
    source = open_source(spec)
    return list(source.read(0, len(source)))


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    refused(tmp_path / "none", "is not there")
    refused(tmp_path, "holds no image")
    (tmp_path / "empty.bin").touch()
    refused(tmp_path / "empty.bin", "is empty")
    (tmp_path / "a.bin").write_text("text")
    refused(tmp_path / "a.bin", "no known kind")
    (tmp_path / "notes.txt").write_text("text")
    refused(tmp_path, "holds no image")


# folders


def folder_of(root: Path, *names: str) -> list[str]:
    content = png(pictures(1, 4)[0])
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    source = open_source(str(root))
    return [Path(source.name(row)).relative_to(root).as_posix() for row in range(len(source))]


def test_folder_takes_visible_images_only(tmp_path: Path) -> None:
    names = ["b.JPG", "a/z.png", "a-b.png", "a/.hidden.png", ".git/x.png", "notes.txt", "c.tiff", "d.webp", "e.eps"]
    assert folder_of(tmp_path, *names) == ["a-b.png", "a/z.png", "b.JPG", "c.tiff", "d.webp"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["x/1.png", "x/2.png", "a/9.png"], [0, 1, 1]),
        (["x/1.png", "x/y/2.png"], None),  # one folder is no class
        (["x/1.png", "y/1.png", "0.png"], None),
        (["0.png", "1.png"], None),
    ],
)
def test_folders_are_classes_where_every_image_has_one(
    names: list[str], expected: list[int] | None, tmp_path: Path
) -> None:
    folder_of(tmp_path, *names)
    source = open_source(str(tmp_path))
    assert source.labelled == (expected is not None)
    assert [label for _, label in source.read(0, len(source))] == (expected or [None] * len(names))


def test_links_in_circles_and_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "a" / "itself").symlink_to(tmp_path / "a" / "itself")
    with pytest.raises(UserError, match=r"itself cannot be read"):
        folder_of(tmp_path, "a/1.png")
    (tmp_path / "a" / "itself").unlink()
    assert folder_of(tmp_path, "a/1.png", "b/2.png") == ["a/1.png", "b/2.png"]
    (tmp_path / "linked").symlink_to(tmp_path / "a")  # the same images are not taken twice
    assert len(folder_of(tmp_path, "b/2.png")) == 2
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone\.png cannot be read: No such file"):
        folder_of(tmp_path, "b/2.png")


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert folder_of(tmp_path, "1.png") == ["1.png"]


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path, "secret/1.png", "2.png")

    def denied(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    source = open_source(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        with pytest.raises(UserError, match=r"2\.png cannot be read: Permission denied"):
            list(source.read(0, 1))
    monkeypatch.setattr(os, "scandir", denied)
    refused(tmp_path, "cannot be read: Permission denied")


def test_names_of_any_bytes(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).write_bytes(png(pictures(1, 4)[0]))
    source = open_source(str(tmp_path))
    source.name(0).encode()
    assert len(list(source.read(0, 1))) == 1


# Parquet


def test_only_the_row_groups_that_are_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_parquet(tmp_path / "a.parquet", [png(each) for each in pictures(12, 4)], classes(12), group=3)
    source = open_source(str(file))
    assert source.labelled
    read: list[int] = []
    true = pq.ParquetFile.read_row_group

    def spied(self: pq.ParquetFile, i: int, *args: Any, **kwargs: Any) -> pa.Table:
        read.append(i)
        return true(self, i, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spied)
    list(source.read(4, 8))
    list(source.read(8, 9))
    assert read == [1, 2]  # the second one once


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("column", ["image", "img"])
def test_plain_binary_columns(column: str, kind: pa.DataType, tmp_path: Path) -> None:
    contents = [png(each) for each in pictures(3, 4)]
    pq.write_table(pa.table({column: pa.array(contents, kind), "fine_label": [5, 6, 7]}), tmp_path / "a.parquet")
    assert list(open_source(str(tmp_path)).read(0, 3)) == list(zip(contents, [5, 6, 7], strict=True))


def test_columns_that_are_no_images(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"], "jpg": [b"a"]}), file)
    refused(file, r"no column image or img.*text, jpg")
    pq.write_table(pa.table({"image": ["a.png"]}), file)
    refused(file, r"'image'.*is string")
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), file)
    refused(file, "without a row")


def test_images_that_are_not_embedded(tmp_path: Path) -> None:
    refused(write_parquet(tmp_path / "a.parquet", [png(pictures(1)[0]), None]), r"row 1 holds only the path '1\.png'")
    table = pa.table({"image": pa.array([None, {"bytes": None}], pa.struct({"bytes": pa.binary()}))})
    pq.write_table(table, tmp_path / "b.parquet")
    assert list(open_source(str(tmp_path / "b.parquet")).read(0, 2)) == [(b"", None), (b"", None)]


@pytest.mark.parametrize("labels", [[0, 1, None], [0, -1, 1]])
def test_unknown_classes_mean_no_classes(labels: list[int | None], tmp_path: Path) -> None:
    source = open_source(str(write_parquet(tmp_path / "a.parquet", [png(each) for each in pictures(3)], labels)))
    assert not source.labelled
    assert [label for _, label in source.read(0, 3)] == [None] * 3


def test_damaged_parquet(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "a.parquet", [png(each) for each in pictures(9)])
    whole = file.read_bytes()
    damage(file, lambda content: content[:-50])
    refused(file, r"a\.parquet is no Parquet file, or is damaged")
    file.write_text("text")
    refused(file, r"a\.parquet is no Parquet file, or is damaged")
    file.write_bytes(whole[:4] + bytes(2000) + whole[2004:])
    refused(file, r"a\.parquet is damaged")


# LMDB


def test_lmdb_of_many_images_is_read_from_any_row(tmp_path: Path) -> None:
    contents = [f"{i}".encode() for i in range(700)]
    source = open_source(str(write_lmdb(tmp_path / "a", contents)))
    for start, stop in ((0, 700), (255, 258), (256, 257), (511, 514), (699, 700)):
        assert [content for content, _ in source.read(start, stop)] == contents[start:stop]
    assert f"{300:040d}" in source.name(300)


def test_lmdb_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lmdb(tmp_path / "a", [b"x"])
    monkeypatch.setitem(sys.modules, "lmdb", None)
    refused(tmp_path / "a", r"pip install 'mmd-ddm\[lsun\]'")


@pytest.mark.parametrize("keep", [0.4, 0.95])
def test_truncated_lmdb_is_refused_before_it_is_mapped(keep: float, tmp_path: Path) -> None:
    file = write_lmdb(tmp_path / "a", [bytes(9000) for _ in range(20)]) / "data.mdb"
    pages = -(-file.stat().st_size // 4096)
    assert len(open_source(str(tmp_path / "a"))) == 20
    os.truncate(file, int(pages * keep) * 4096)
    refused(tmp_path / "a", r"is truncated: it has \d+ of \d+ bytes; get it again")
    os.truncate(file, 5000)  # within the second of the pages that describe it
    refused(tmp_path / "a", "is truncated")


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


def test_damaged_lmdb(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no such thing" * 1000)
    refused(tmp_path, "is no LMDB, or is damaged")
    refused(write_lmdb(tmp_path / "empty", []), "holds no image")


# the hub


@pytest.mark.parametrize(
    "spec", ["hub:x", "hub:a/b:c.parquet", "hub:a/b@main", "hub:a/b@main:c.png", "hub:b@m:c.parquet"]
)
def test_specs_of_another_form(spec: str) -> None:
    refused(spec, r"write hub:OWNER/NAME@REVISION")


def test_hub_downloads_what_is_asked_for_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []

    def download(*args: Any, **kwargs: Any) -> str:
        asked.append((args, kwargs))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    write_parquet(tmp_path / "a" / "x.parquet", [png(each) for each in pictures(3)])
    source = open_source("hub:some-one/im.ages@v1.0:a/*.parquet")
    assert source.identity
    assert not asked
    assert len(source) == 3
    list(source.read(0, 3))
    wanted = {"repo_type": "dataset", "revision": "v1.0", "allow_patterns": ["a/*.parquet"]}
    assert asked == [(("some-one/im.ages",), wanted)]
    refused("hub:some-one/im.ages@v1.0:b/*.parquet", r"has no file b/\*\.parquet")


def test_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert isinstance(open_source("hub:a/b@main:c.parquet"), HubImages)
    refused("hub:a/b@main:c.parquet", r"cannot be downloaded.*--data PATH")


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
