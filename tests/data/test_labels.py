"""The class of an image is what the user says: a level of folders, or a column."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmd_ddm.cli.main import main
from mmd_ddm.data.readers.labels import with_labels
from mmd_ddm.data.readers.open import open_source
from mmd_ddm.data.store import Rows
from mmd_ddm.errors import UserError
from tests.data.sources import pictures, png, write_lmdb
from tests.own_data import picture

FILES = ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "test/dog/1.png", "test/ant/b/1.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(FILES):
        picture(tmp_path / "photos" / name, i)
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("level", "classes", "labels"),
    [
        # in the order of the paths: test/ant, test/dog, train/cat, train/cat, train/dog
        ("1", ("test", "train"), [0, 0, 1, 1, 1]),
        ("2", ("ant", "cat", "dog"), [0, 2, 1, 1, 2]),
        ("-1", ("b", "cat", "dog"), [0, 2, 1, 1, 2]),
    ],
)
def test_a_level_of_folders(level: str, classes: tuple[str, ...], labels: list[int], folder: Path) -> None:
    plain = open_source(str(folder))
    chosen = with_labels(plain, level)
    assert chosen.classes == classes
    assert [label for _, label in chosen.read(0, 5)] == labels
    assert [label for _, label in chosen.read(2, 4)] == labels[2:4]
    assert [content for content, _ in chosen.read(0, 5)] == [content for content, _ in plain.read(0, 5)]
    assert chosen.identity != plain.identity  # another store


@pytest.mark.parametrize(
    ("level", "told"), [("3", "lies in 2 folders"), ("0", "level of folders"), ("cat", "1, 2 and")]
)
def test_a_level_that_is_not_there(level: str, told: str, folder: Path) -> None:
    with pytest.raises(UserError, match=told):
        with_labels(open_source(str(folder)), level)


def test_a_column_of_text_or_numbers(tmp_path: Path) -> None:
    images = [{"bytes": png(each)} for each in pictures(4)]
    for name, rows in (("a", slice(0, 3)), ("b", slice(3, 4))):
        columns = {"image": images, "species": ["owl", "gull", "owl", "crow"], "year": [7, 5, 5, 7],
                   "odd": [1, None, 1, 1]}  # fmt: skip
        pq.write_table(pa.table({key: values[rows] for key, values in columns.items()}), tmp_path / f"{name}.parquet")
    source = open_source(str(tmp_path))
    assert not source.labelled
    for column, classes, labels in (
        ("species", ("crow", "gull", "owl"), [2, 1, 2, 0]),
        ("year", ("5", "7"), [1, 0, 0, 1]),
    ):
        chosen = with_labels(source, column)
        assert (chosen.classes, [label for _, label in chosen.read(0, 4)]) == (classes, labels)
    with pytest.raises(UserError, match=r"a\.parquet, row 1 has None in column 'odd'"):
        with_labels(source, "odd")
    with pytest.raises(UserError, match=r"no column 'kind'.*image, species, year, odd"):
        with_labels(source, "kind")


def test_other_sources_have_classes_of_their_own_or_none(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "lmdb", [png(each) for each in pictures(2)])
    with pytest.raises(UserError, match="leave out --labels"):
        with_labels(open_source(str(tmp_path / "lmdb")), "1")


def test_prepare_tells_the_classes_with_their_counts_and_writes_down_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))
    for i in range(9):
        picture(tmp_path / "photos" / ("a" if i < 4 else "b") / f"c{i % 3}" / f"{i}.png", i)
    asked = ["prepare", "--data", str(tmp_path / "photos"), "--resolution", "8", "--processes", "1", "--output"]
    for labels, told, written in (
        ([], "classes: 2, by level 1 of the folders: a 4, b 5\n", ("level 1 of the folders", ["a", "b"])),
        (["--labels", "2"], "classes: 3, by level 2 of the folders: c0 3, c1 3, c2 3\n",
         ("level 2 of the folders", ["c0", "c1", "c2"])),
        (["--labels", "none"], "classes: none\n", (None, None)),
    ):  # fmt: skip
        store = tmp_path / f"store{len(capsys.readouterr().out)}{labels}"
        assert main([*asked, str(store), *labels]) == 0
        said = capsys.readouterr().out
        assert told in said
        assert f"--data {store}" in said
        record = Rows(store).record
        assert (record.get("class of"), record.get("classes")) == written


def test_a_single_class_teaches_a_classifier_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))
    for i in range(8):
        picture(tmp_path / "photos" / "all" / f"{i}.png", i)
    photos, store = ["--data", str(tmp_path / "photos"), "--resolution", "8"], str(tmp_path / "store")
    assert main(["prepare", *photos, "--labels", "1", "--output", store, "--processes", "1"]) == 0
    train = ["pretrain", "--data", store, "--resolution", "8", "--what", "classifier", "--output", str(tmp_path / "n")]
    assert main(train) == 2
    assert "are of one class, which teaches a classifier nothing" in capsys.readouterr().err
