import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmd_ddm.data import prepare as module
from mmd_ddm.data.prepare import prepare
from mmd_ddm.data.store import RowWriter
from mmd_ddm.errors import UserError
from tests.data.prepare.cases import NUMBER, cifar
from tests.data.sources import pictures, png, write_parquet


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
            stderr=errors, start_new_session=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
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


def test_killed_process_is_a_sentence(file: Path, tmp_path: Path) -> None:
    from mmd_ddm.data.worker_pool import run_parts

    with pytest.raises(UserError, match=r"a process was killed.*--processes"):
        run_parts(os._exit, [3, 4], "dying", processes=2)
