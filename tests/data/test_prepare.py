import errno
import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmd_ddm.cli import prepare as command
from mmd_ddm.data import prepare as module
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.crop import CENTRE_BILINEAR
from mmd_ddm.data.load import is_prepared, load_dataset
from mmd_ddm.data.prepare import prepare, store_folder
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.data.store import Rows, RowWriter
from mmd_ddm.errors import UserError
from tests.data.sources import classes, pictures, png, write_folder, write_lmdb, write_parquet

NUMBER = 23
PART = 4  # rows of a part in these tests: six parts, the last with three


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_PART_ROWS", PART)
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))


def cifar(data: Path, **changes: Any) -> DatasetSpec:
    return replace(dataset_spec("cifar10", str(data)), **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "data" / "a.parquet", [png(each) for each in pictures(NUMBER)], classes(NUMBER))


def corrupt(tmp_path: Path, at: tuple[int, ...], number: int = NUMBER) -> Path:
    contents = [png(each) for each in pictures(number)]
    for row in at:
        contents[row] = contents[row][: len(contents[row]) // 2]
    return write_parquet(tmp_path / "corrupt" / "a.parquet", contents, classes(number))


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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(code: int, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = RowWriter.write

    def full(self: RowWriter, part: int, *args: Any) -> None:
        if part == 3:
            raise OSError(code, os.strerror(code))
        true(self, part, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RowWriter, "write", full)
        with pytest.raises(UserError, match="no space is left"):
            prepare(cifar(file), tmp_path / "store", processes=1)
    assert not (tmp_path / "store").exists()
    assert len(prepare(cifar(file), tmp_path / "store", processes=1)) == NUMBER


def test_other_trouble_of_the_disk_is_not_called_full(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(RowWriter, "write", denied)
    with pytest.raises(PermissionError):
        prepare(cifar(file), tmp_path / "store", processes=1)


SCRIPT = """
import sys
from pathlib import Path
from mmd_ddm.data import prepare as module
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.readers.open import open_source
from tests.data.sources import Gated
file, store, gate = map(Path, sys.argv[1:])
module._PART_ROWS = 100
module.known_source = lambda spec: Gated(open_source(spec), 1000, gate)
module.prepare(dataset_spec("cifar10", str(file)), store, processes=2)
"""  # without a guard: the processes must not run it again


def in_session(leader: int) -> list[str]:
    """Processes of a session that still run, without those that are dead and not yet waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *_, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == leader and state != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.parametrize("sent", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_killed_and_resumed_is_as_if_nothing_had_been(
    sent: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = [png(each) for each in pictures(300)] * 10
    file = write_parquet(tmp_path / "data" / "a.parquet", contents, group=100)
    store, gate = tmp_path / "store", tmp_path / "gate"
    (tmp_path / "script.py").write_text(SCRIPT)
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "script.py"), str(file), str(store), str(gate)],
            stderr=errors, start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            # a suite that runs in the background may have been told to ignore it, which children inherit
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
    while len(list(tmp_path.glob("waiting-*"))) < 2:
        assert process.poll() is None, (tmp_path / "errors").read_text()
        time.sleep(0.01)
    waiting = list(tmp_path.glob("waiting-*"))
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # Ctrl-C reaches all processes of a terminal
        gate.touch()
    else:
        process.kill()
    assert process.wait() == -sent
    told = (tmp_path / "errors").read_text()
    assert told.count("KeyboardInterrupt\n") == (sent == signal.SIGINT)  # of one process only
    for _ in range(2000):  # the others end by themselves
        if not in_session(process.pid):
            break
        time.sleep(0.01)
    assert not in_session(process.pid)
    assert not store.exists()
    kept = {part.name: part.stat().st_mtime_ns for part in tmp_path.glob("store.*.partial/part-*.arrow")}
    begun = {f"part-{int(file.name.removeprefix('waiting-')) // 100:05d}.arrow" for file in waiting}
    assert len(begun) == 2
    assert (begun <= set(kept)) == (sent == signal.SIGINT)  # after Ctrl-C, what is begun is finished
    assert 10 <= len(kept) < 30
    monkeypatch.setattr(module, "_PART_ROWS", 100)
    resumed = prepare(cifar(file), store, processes=1)
    assert {name: (store / name).stat().st_mtime_ns for name in kept} == kept
    assert resumed.fingerprint == prepare(cifar(file), tmp_path / "whole", processes=1).fingerprint
    assert np.array_equal(resumed[:].numpy(), np.concatenate([pictures(300)] * 10))


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


def test_killed_process_is_a_sentence(file: Path, tmp_path: Path) -> None:
    from mmd_ddm.data.worker_pool import run_parts

    with pytest.raises(UserError, match=r"a process was killed.*--processes"):
        run_parts(os._exit, [3, 4], "dying", processes=2)


# the command


def options(**given: Any) -> Any:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args([f"--{key.replace('_', '-')}={value}" for key, value in given.items()])


def test_command_tells_where_the_store_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.execute(options(dataset="cifar10", data=file, processes=1))
    found = dataset_spec("cifar10", str(file))
    store = is_prepared(found)
    assert store is not None
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["store"] == str(store)
    assert lines["images"] == f"{NUMBER}, 3 x 32 x 32, skipped 0"
    assert lines["fingerprint"] == load_dataset(found).fingerprint
    used = sum(each.stat().st_size for each in store.iterdir())
    assert lines["size on disk"] == f"{used / 1e6:.1f} MB"


def test_command_writes_elsewhere_and_in_grey(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.execute(options(dataset="own", data=file, resolution=16, channels=1, output=tmp_path / "grey", processes=1))
    assert f"--dataset own --data {tmp_path / 'grey'}" in capsys.readouterr().out
    found = dataset_spec("own", str(tmp_path / "grey"), 16)
    assert found.channels == 1
    images = load_dataset(found)
    first = Image.open(io.BytesIO(png(pictures(NUMBER)[0]))).convert("L").resize((16, 16), Image.Resampling.BICUBIC)
    assert torch.equal(images.images[:1][0, 0], torch.from_numpy(np.array(first)))


def test_command_refuses_what_needs_no_preparation(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to prepare"):
        command.execute(options(dataset="digits"))
    prepare(cifar(file), tmp_path / "store", processes=1)
    with pytest.raises(UserError, match="prepared already"):
        command.execute(options(dataset="cifar10", data=tmp_path / "store"))


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
