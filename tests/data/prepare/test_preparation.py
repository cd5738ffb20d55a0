import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmd_ddm.data import prepare as module
from mmd_ddm.data.crop import CENTRE_BILINEAR
from mmd_ddm.data.prepare import prepare, store_folder
from mmd_ddm.data.store import Rows
from mmd_ddm.errors import UserError
from tests.data.prepare.cases import NUMBER, PART, cifar
from tests.data.sources import classes, pictures, png, write_parquet


@pytest.mark.parametrize("processes", [1, 2])
def test_store_holds_every_image_and_class_in_order(processes: int, file: Path, tmp_path: Path) -> None:
    rows = prepare(cifar(file), tmp_path / "store", processes=processes)
    assert np.array_equal(rows[:].numpy(), pictures(NUMBER))
    assert rows.labels is not None
    assert rows.labels.tolist() == classes(NUMBER)
    assert (rows.record["images"], rows.record["skipped"]) == (NUMBER, 0)
    assert {each.name for each in tmp_path.iterdir()} == {"data", "store"}  # neither a lock nor half a part
    assert {each.name for each in (tmp_path / "store").iterdir()} == {
        "rows.json", *(f"part-{part:05d}.arrow" for part in range(6))
    }  # fmt: skip


def test_prepared_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(cifar(file), tmp_path / "store", processes=1)

    def never(*_: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(module, "decode", never)
    assert prepare(cifar(file), tmp_path / "store", processes=1).fingerprint == first.fingerprint


def test_parts_that_are_there_are_kept(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare(cifar(file), tmp_path / "whole", processes=1)
    true, calls = module.decode, []

    def interrupted(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3 * PART + 2:
            raise KeyboardInterrupt
        return true(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(cifar(file), tmp_path / "store", processes=1)
    assert not (tmp_path / "store").exists()
    calls.clear()

    def counted(*args: Any) -> Any:
        calls.append(args)
        return true(*args)

    monkeypatch.setattr(module, "decode", counted)
    assert prepare(cifar(file), tmp_path / "store", processes=1).fingerprint == whole.fingerprint
    assert len(calls) == NUMBER - 3 * PART


def test_changed_source_starts_anew(file: Path, tmp_path: Path) -> None:
    before = cifar(file)
    store = store_folder(before)
    prepare(before, store, processes=1)
    write_parquet(file, [png(each) for each in pictures(NUMBER, seed=1)], classes(NUMBER))
    assert store_folder(cifar(file)) != store
    with pytest.raises(UserError, match="holds other images"):
        prepare(cifar(file), store, processes=1)


@pytest.mark.parametrize(
    "change", [{"channels": 1}, {"resolution": 16}, {"crop": CENTRE_BILINEAR}, {"labelled": False}]
)
def test_key_holds_all_that_decides_the_pixels(change: dict[str, Any], file: Path) -> None:
    assert store_folder(cifar(file, **change)) != store_folder(cifar(file))
    assert store_folder(cifar(file, licence="other")) == store_folder(cifar(file))


def test_labels_that_are_no_classes_are_left_out(file: Path, tmp_path: Path) -> None:
    assert prepare(cifar(file, labelled=False), tmp_path / "store", processes=1).labels is None


def test_those_who_ask_at_once_get_one_store(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true, decoded = module.decode, []

    def counted(*args: Any) -> Any:
        decoded.append(args)
        time.sleep(0.002)
        return true(*args)

    monkeypatch.setattr(module, "decode", counted)
    found: list[Rows] = []
    asking = [
        threading.Thread(target=lambda: found.append(prepare(cifar(file), tmp_path / "store", processes=1)))
        for _ in range(4)
    ]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert len({rows.fingerprint for rows in found}) == 1
    assert (len(found), len(decoded)) == (4, NUMBER)
