import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmd_ddm.data import catalogue, prepare
from mmd_ddm.data.catalogue import dataset_names, dataset_spec
from mmd_ddm.data.crop import CENTRE_BICUBIC
from mmd_ddm.data.load import is_prepared, load_dataset
from mmd_ddm.data.names import OWN
from mmd_ddm.data.readers.hub import HubImages
from mmd_ddm.data.readers.open import open_source
from mmd_ddm.data.store import RowWriter
from mmd_ddm.errors import UserError
from mmd_ddm.files import cache_home
from mmd_ddm.pretrained.locate import SHIPPED
from tests.data.sources import classes, pictures, png, write_folder, write_parquet

NUMBER = 9
PAPER = ("cifar10", "celeba", "imagenet64", "lsun_church")


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", never)


def never(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing may be downloaded or decoded here")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    contents = [png(each) for each in pictures(NUMBER)]
    return write_parquet(tmp_path / "data" / "plain_text" / "train-0.parquet", contents, classes(NUMBER))


@pytest.mark.parametrize("name", [name for name in dataset_names() if name != OWN])
def test_entries_say_where_everything_comes_from(name: str) -> None:
    found = dataset_spec(name)
    assert found.name == name
    assert found.source
    assert found.licence
    assert found.base_model
    assert (found.origin is None) == found.embedded
    shipped = (SHIPPED / found.base_model).is_dir()
    if not shipped and "/" not in found.base_model:
        line = (found.base_model_origin or "").partition("mmd-ddm import ")[2]
        target = line.split("--output ")[1]
        told = subprocess.run(["bash", "-c", f"echo {target}"], capture_output=True, text=True, check=True).stdout
        assert told.strip() == str(cache_home() / "models" / found.base_model)
    assert is_prepared(found) is None


@pytest.mark.parametrize("name", PAPER)
def test_data_sets_of_the_paper(name: str) -> None:
    found = dataset_spec(name)
    # the paper, Section IV-A; numbers of training images as their authors publish them
    resolutions = dict(zip(PAPER, (32, 64, 64, 256), strict=True))
    sizes = dict(zip(PAPER, (5 * 10_000, 202_599 - 19_867 - 19_962, 1_281_167, 119_915 + 6_312), strict=True))
    assert (found.resolution, found.channels, found.size) == (resolutions[name], 3, sizes[name])
    assert found.feature_spaces == ("inception", "clip")
    assert found.origin is not None
    assert isinstance(open_source(found.origin), HubImages)


def test_unknown_names_and_what_does_not_go_together(file: Path) -> None:
    with pytest.raises(UserError, match=r"'mnist'.*digits.*own"):
        dataset_spec("mnist")
    for data in (str(file), None):
        with pytest.raises(UserError, match="leave out --resolution"):
            dataset_spec("digits", data, 16)
    assert dataset_spec("digits", None, 8) == dataset_spec("digits")
    with pytest.raises(UserError, match="name --data PATH"):
        dataset_spec(OWN)
    with pytest.raises(UserError, match="name --resolution R"):
        dataset_spec(OWN, str(file))
    with pytest.raises(UserError, match="from 1 to"):
        dataset_spec(OWN, str(file), 0)
    with pytest.raises(UserError, match="is empty"):
        dataset_spec("cifar10", " ")
    with pytest.raises(UserError, match="is not there"):
        dataset_spec("cifar10", "/no/such/place")


def test_other_images_go_through_the_networks_of_an_embedded_data_set(file: Path) -> None:
    embedded, given = dataset_spec("cifar10_small"), dataset_spec("cifar10_small", str(file))
    assert given == replace(embedded, embedded=False, origin=str(file), given=True, size=NUMBER, crop=CENTRE_BICUBIC)
    images = load_dataset(given)
    assert (images.name, len(images), images.image_shape) == ("cifar10_small", NUMBER, (3, 16, 16))


def test_data_and_resolution_replace_the_catalogues(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dataset_spec("cifar10", str(file), 16)
    assert found == replace(dataset_spec("cifar10"), origin=str(file), given=True, size=NUMBER, resolution=16)
    assert dataset_spec("cifar10", resolution=16) == replace(dataset_spec("cifar10"), resolution=16)
    assert dataset_spec("cifar10", "hub:a/b@main:c.parquet").given
    monkeypatch.chdir(file.parent)
    assert dataset_spec("cifar10", file.name, 16) == found
    assert dataset_spec(OWN, file.name, 16).origin == str(file)


def test_catalogue_is_downloaded_prepared_once_and_opened_ever_after(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(file.parents[1]))
    monkeypatch.setattr(catalogue, "_SPECS", (replace(dataset_spec("cifar10"), name="tiny", size=NUMBER),))
    found = dataset_spec("tiny")
    assert is_prepared(found) is None
    first = load_dataset(found)
    monkeypatch.setattr("huggingface_hub.snapshot_download", never)
    monkeypatch.setattr(prepare, "decode", never)
    store = is_prepared(found)
    assert store is not None
    assert store.parent == Path(file.parents[2] / "home" / "stores")
    assert store.name.startswith("tiny-32-")
    again = load_dataset(found)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(torch.cat(list(again.pieces(4))).numpy(), pictures(NUMBER))
    assert again.labels is not None
    assert again.labels.tolist() == classes(NUMBER)
    assert again.mirrored
    with pytest.raises(UserError, match="holds 9 images, but tiny has 10"):
        load_dataset(replace(found, size=NUMBER + 1))


def test_a_store_may_be_named_as_data(file: Path, tmp_path: Path) -> None:
    rows = prepare.prepare(dataset_spec("cifar10", str(file)), tmp_path / "store", processes=1)
    for name in ("cifar10", OWN):
        found = dataset_spec(name, str(tmp_path / "store"), 32)
        assert (found.size, found.channels) == (NUMBER, 3)
        assert is_prepared(found) == tmp_path / "store"
        assert load_dataset(found).fingerprint == rows.fingerprint
    with pytest.raises(UserError, match=r"3 channels of 32 x 32, not 3 channels of 64 x 64"):
        load_dataset(dataset_spec(OWN, str(tmp_path / "store"), 64))


def test_skipped_images_count_towards_the_size(tmp_path: Path) -> None:
    contents = [png(each) for each in pictures(NUMBER)]
    contents[2] = b"text"
    file = write_parquet(tmp_path / "a.parquet", contents)
    found = dataset_spec("cifar10", str(file))
    prepare.prepare(found, prepare.store_folder(found), processes=1, skip_corrupt=True)
    assert len(load_dataset(replace(found, given=False))) == NUMBER - 1


def test_own_images(tmp_path: Path) -> None:
    images = pictures(NUMBER, side=40)
    root = write_folder(tmp_path / "mine", images)
    found = dataset_spec(OWN, str(root), 20)
    assert (found.size, found.channels, found.resolution, found.mirrored) == (NUMBER, 3, 20, False)
    assert found.base_model is None
    loaded = load_dataset(found)
    halved = Image.fromarray(images[4].transpose(1, 2, 0)).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(loaded.images[4:5][0].numpy(), np.asarray(halved).transpose(2, 0, 1))
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [i * 3 // NUMBER for i in range(NUMBER)]


def test_own_images_are_grey_where_all_headers_say_so(tmp_path: Path) -> None:
    for i in range(NUMBER):
        file = tmp_path / "mine" / f"{i}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(png(pictures(1, 16, seed=i)[0][:1]))
    (tmp_path / "mine" / "0.jpg").write_text("text")  # named when it is prepared, not here
    assert dataset_spec(OWN, str(tmp_path / "mine"), 8).channels == 1
    (tmp_path / "mine" / "colour.png").write_bytes(png(pictures(1, 16)[0]))
    assert dataset_spec(OWN, str(tmp_path / "mine"), 8).channels == 3


def test_half_written_store_is_not_taken(file: Path) -> None:
    found = dataset_spec("cifar10", str(file))
    store = prepare.store_folder(found)
    RowWriter(store, dtype=torch.uint8, shape=(3, 32, 32), parts=1, key={"other": 1})
    assert is_prepared(found) is None
    assert len(load_dataset(found)) == NUMBER


def walks_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The walks over a folder, one entry each, by whatever looks at what is in it."""
    walks: list[Path] = []
    true = os.scandir

    def counted(path: Any = ".") -> Any:
        if Path(path) == root:
            walks.append(root)
        return true(path)

    monkeypatch.setattr(os, "scandir", counted)
    return walks


def settle(root: Path) -> None:
    """Make folders that have just changed older than the time in which a further change could go unseen."""
    for each in (root, *root.rglob("*")):
        if each.is_dir() and time.time() - each.stat().st_mtime < 5:
            os.utime(each, ns=(0, time.time_ns() - 10**10))


def test_a_folder_of_images_is_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "mine", pictures(NUMBER, side=40))
    settle(root)
    walks = walks_of(root, monkeypatch)
    found = dataset_spec(OWN, str(root), 20)
    assert is_prepared(found) is None
    rows = prepare.prepare(found, prepare.store_folder(found), processes=1)
    assert is_prepared(dataset_spec(OWN, str(root), 20)) == rows.folder
    assert load_dataset(found).fingerprint == rows.fingerprint
    assert len(walks) == 1


@pytest.mark.parametrize("settled", [False, True])
def test_a_folder_that_changed_is_walked_again(settled: bool, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "mine", pictures(NUMBER))
    deep = root / "class1" / "deep"

    def store() -> Path:
        if settled:
            settle(root)
        return prepare.store_folder(dataset_spec(OWN, str(root), 20))

    before = store()
    for change in (
        lambda: (deep / "more.png").write_bytes(png(pictures(1)[0])),
        lambda: (deep / "more.png").rename(deep / "other.png"),
        lambda: (deep / "other.png").unlink(),
        lambda: deep.rename(deep.with_name("deeper")),
        lambda: shutil.rmtree(root / "class1"),
    ):
        change()
        after = store()
        assert after != before
        before = after
