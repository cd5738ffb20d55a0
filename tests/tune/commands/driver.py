"""Runs the commands: within the test, where they refuse their input, and as processes that are killed."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

Main = Callable[[list[str]], int]


def status(main: Main, arguments: list[str]) -> int | str | None:
    """What the command line ends with, whether it returns or argparse exits."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code


def left(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    return {str(each.relative_to(folder)): each.read_bytes() if each.is_file() else b"" for each in folder.rglob("*")}


def assert_refused(
    main: Main, arguments: list[str], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence with these words on standard error, status 2, and the folder as it was."""
    before = left(folder)
    assert status(main, arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert len(said.err.splitlines()) == 1
    assert left(folder) == before


def kill_when(there: Path, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Start a command and kill it as soon as a file is there."""
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not there.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def wait_for_end(pid: int) -> None:
    """Wait until Ray's process has seen that its driver is gone."""
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
