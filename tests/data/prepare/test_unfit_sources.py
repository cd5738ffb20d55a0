from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmd_ddm.data import prepare as module
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.crop import CENTRE_BILINEAR
from mmd_ddm.data.prepare import prepare
from mmd_ddm.data.store import RowWriter
from mmd_ddm.errors import UserError
from tests.data.prepare.cases import NUMBER, cifar, corrupt
from tests.data.sources import classes, pictures, png, write_folder, write_lmdb, write_parquet


@pytest.mark.parametrize("processes", [1, 2])
def test_corrupt_image_is_named(processes: int, tmp_path: Path) -> None:
    file = corrupt(tmp_path, at=(9,))
    with pytest.raises(UserError, match=r"a\.parquet, row 9 is truncated or damaged.*--skip-corrupt"):
        prepare(cifar(file), tmp_path / "store", processes=processes)
    assert not (tmp_path / "store").exists()


def test_corrupt_image_of_an_lmdb_is_named(tmp_path: Path) -> None:
    contents = [png(each) for each in pictures(NUMBER)]
    contents[9] = b"\xff\xd8 nothing more"
    root = write_lmdb(tmp_path / "a_lmdb", contents)
    with pytest.raises(UserError, match=r"data\.mdb, image 9 \(key 0+9\)"):
        prepare(cifar(root), tmp_path / "store", processes=1)


def test_corrupt_images_are_skipped_when_asked(tmp_path: Path) -> None:
    bad = (0, 9, 20, 21, 22)  # the last part loses everything
    rows = prepare(cifar(corrupt(tmp_path, bad)), tmp_path / "store", processes=1, skip_corrupt=True)
    kept = [row for row in range(NUMBER) if row not in bad]
    assert np.array_equal(rows[:].numpy(), pictures(NUMBER)[kept])
    assert rows.labels is not None
    assert rows.labels.tolist() == [classes(NUMBER)[row] for row in kept]
    assert rows.record["skipped"] == len(bad)
    assert [name.rpartition(" ")[2] for name in rows.record["skipped names"]] == [str(row) for row in bad]


def test_skipping_is_not_taken_over_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cifar(corrupt(tmp_path, (1,)))
    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(found, tmp_path / "store", processes=1, skip_corrupt=True)
    with pytest.raises(UserError, match="earlier run with --skip-corrupt or --skip-small left out 1 images"):
        prepare(found, tmp_path / "store", processes=1)
    assert len(prepare(found, tmp_path / "store", processes=1, skip_corrupt=True)) == NUMBER - 1


def test_only_the_first_names_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMED", 3)
    rows = prepare(cifar(corrupt(tmp_path, (1, 2, 5, 6, 9))), tmp_path / "store", processes=1, skip_corrupt=True)
    assert rows.record["skipped"] == 5
    assert [name[-1] for name in rows.record["skipped names"]] == ["1", "2", "5"]


def test_image_of_another_size_is_named_and_never_skipped(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "images", pictures(NUMBER))
    (root / "class1" / "small.png").write_bytes(png(pictures(1, 31)[0]))
    for skip in (False, True):
        with pytest.raises(UserError, match=r"small\.png is 31 x 31"):
            prepare(cifar(root), tmp_path / "store", processes=1, skip_corrupt=skip)


def test_too_few_images(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "one", pictures(1))
    with pytest.raises(UserError, match="holds 1 images; a data set has at least 8"):
        prepare(cifar(root), tmp_path / "store")
    with pytest.raises(UserError, match="4 of the 8 images could be used"):
        prepare(cifar(corrupt(tmp_path, (0, 1, 2, 3), 8)), tmp_path / "store", processes=1, skip_corrupt=True)


def test_incomplete_download(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 23 images, but cifar10 has 50000"):
        prepare(replace(dataset_spec("cifar10"), origin=str(file)), tmp_path / "store")


def test_folders_that_are_something_else_are_left_alone(file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for folder in (tmp_path / "mine", tmp_path / "mine" / "letter.txt"):
        with pytest.raises(UserError, match="is no store of images"):
            prepare(cifar(file), folder, processes=1)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"
    with pytest.raises(UserError, match="at least 1"):
        prepare(cifar(file), tmp_path / "store", processes=0)


def test_images_below_the_resolution_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    contents = [png(each) for each in pictures(NUMBER)]
    contents[3] = png(pictures(1)[0][:, :20, :20])
    spec = cifar(write_parquet(tmp_path / "data" / "a.parquet", contents, classes(NUMBER)), crop=CENTRE_BILINEAR)
    with pytest.raises(UserError, match=r"row 3 is 20 x 20, too small .* mmd-ddm prepare --skip-small leaves them out"):
        prepare(spec, tmp_path / "store", processes=1)
    with pytest.raises(UserError, match="row 3 is 20 x 20"):
        prepare(spec, tmp_path / "store", processes=1, skip_corrupt=True)
    rows = prepare(spec, tmp_path / "store", processes=1, skip_small=True)
    assert rows.labels is not None
    assert rows.labels.tolist() == classes(NUMBER)[:3] + classes(NUMBER)[4:]
    assert rows.record["skipped"] == 1
    assert str(rows.record["skipped names"]).endswith("a.parquet, row 3']")
