"""A real MLflow server that is killed in the middle and at the end of a run: every metric is there afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmd_ddm.experiment.run_folder import append_row
from mmd_ddm.experiment.tracking import tracker as tracking
from mmd_ddm.experiment.tracking.tracker import Tracker

pytestmark = [pytest.mark.slow, pytest.mark.faults]
UPDATES = 12
AWAY = 60.0  # seconds, each time


class Server:
    """An MLflow server with its records in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db", "--artifacts-destination", self._folder]
        command = [sys.executable, "-m", "mlflow", "server", "--port", self._port, "--workers", 1, *store]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + 300
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "server.log").read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    made = Server(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "cache"))
    yield made
    made.kill()


def test_every_metric_is_there_afterwards(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(tracking, "PAUSE", 1.0)
    monkeypatch.setattr(tracking, "PATIENCE", 600.0)  # the server's own start takes long on a busy machine
    server.start()
    tracker, folder = Tracker("experiment"), tmp_path / "run"
    folder.mkdir()
    run = tracker.follow(folder, name="run", description="", params={"a": 1}, tags={})

    def train(update: int) -> None:
        append_row(folder, {"update": update, "mmd2": 1 / update})

    train(1)
    assert run.send().result()
    server.kill()
    gone = time.monotonic()
    for update in range(2, UPDATES - 1):
        train(update)
        assert not run.send().result()  # told in the log; what runs goes on
        time.sleep(AWAY / (UPDATES - 3))
    assert time.monotonic() - gone > AWAY
    server.start()
    train(UPDATES - 1)
    assert run.send().result()
    server.kill()
    train(UPDATES)
    run.close("FINISHED", metrics=[("final", 0.5, UPDATES)])
    back = threading.Timer(AWAY, server.start)
    back.start()
    assert tracker.close() == []
    back.join()
    client = MlflowClient(server.uri)
    history = client.get_metric_history(str(run.run_id), "mmd2")
    assert [(each.step, each.value) for each in history] == [(update, 1 / update) for update in range(1, UPDATES + 1)]
    recorded = client.get_run(str(run.run_id))
    assert (recorded.info.status, recorded.data.metrics["final"]) == ("FINISHED", 0.5)
