"""A command that runs in the background, and is done to what happens to commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MARK = "MMD_DDM_TEST"


class Running:
    """A command in a folder, in a process group of its own; all processes that come of it are known."""

    def __init__(self, folder: Path, *command: object, **variables: str) -> None:
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
        kept |= {"PYTHONPATH": str(ROOT), "MMD_DDM_HOME": str(folder / "cache"), **variables}
        kept |= dict([self._mark.split("=")])
        kept |= {"RAY_raylet_start_wait_time_s": "180"}  # however busy the machine is
        self._said, self._errors = folder / "said.txt", folder / "errors.txt"
        with self._said.open("w") as said, self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *map(str, command)], cwd=folder, env=kept, stdout=said, stderr=errors,
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        """Its standard output so far."""
        return self._said.read_text()

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return self._errors.read_text()

    def wait_until(self, there: Callable[[], bool], patience: float = 600) -> None:
        """Wait until something is the case while the command runs."""
        deadline = time.monotonic() + patience
        while not there():
            assert self.process.poll() is None, self.said + self.errors
            assert time.monotonic() < deadline, self.said + self.errors
            time.sleep(0.02)

    def ctrl_c(self) -> None:
        """What a terminal does: the signal goes to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self, words: str) -> int:
        """End a process of the command, by its number, with SIGKILL; it is the first with some words in its title."""
        number = next(number for number in self.processes() if words in title(number))
        os.kill(number, signal.SIGKILL)
        return number

    def processes(self) -> list[int]:
        """The numbers of all living processes that came of the command."""
        return marked(self._mark)

    def _left(self) -> list[str]:
        names = map(title, self.processes())
        # this one Ray keeps for all programs of a cluster, as long as that lives
        return [name for name in names if "_AutoscalingCoordinatorActor" not in name]

    def ended(self, patience: float = 600) -> int:
        """Wait for it, then for at most 10 s for its processes, and return its status."""
        status = self.process.wait(patience)
        deadline = time.monotonic() + 10
        while self._left() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not (left := self._left()), left
        return status


def marked(mark: str) -> list[int]:
    """The numbers of all living processes that have something in their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (each / "environ").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue
    return found


def title(number: int) -> str:
    """The command line of a process, as it is now; none once it is gone."""
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
