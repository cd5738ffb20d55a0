"""Ctrl-C and SIGTERM: once to end after the update that is being made, with a checkpoint; twice to end at once.

A run's workers may be on other machines. They look before each update into a file of the run's folder, which is there
all the time: a network file system shows at once what is new in a file that is opened, but late that there is a file.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmd_ddm.discrepancy.collective import Collective
from mmd_ddm.files import write_whole

SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORD = ".going"  # the file
_ON, _STOP = "on\n", "stop\n"


class Interruption:
    """What this process was asked for by signals, for as long as it is `heard`."""

    def __init__(self) -> None:
        self.asked = False
        self._gently: Callable[[], None] | None = None

    @contextmanager
    def heard(self) -> Iterator[Interruption]:
        """Have the signals raise KeyboardInterrupt, the first one too unless it is within `gently`."""
        if threading.current_thread() is not threading.main_thread():  # which alone may listen
            yield self
            return
        former = [signal.signal(number, self._hear) for number in SIGNALS]
        try:
            yield self
        finally:
            for number, handler in zip(SIGNALS, former, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def gently(self, ask: Callable[[], None]) -> Iterator[None]:
        """Have the first signal only call a function, which asks whatever works to come to an end."""
        self._gently = ask
        try:
            yield
        finally:
            self._gently = None

    def _hear(self, number: int, frame: object) -> None:
        again, self.asked = self.asked, True
        if again or self._gently is None:
            raise KeyboardInterrupt
        self._gently()


def let_go_on(folder: Path) -> None:
    """Tell the workers of a folder's runs that nobody asked them to stop."""
    write_whole(folder / WORD, _ON)


def ask_to_stop(folder: Path) -> None:
    """Ask the workers of a folder's runs to stop after the update that they are at."""
    with suppress(OSError):  # a full disk: the second signal ends them all the same
        (folder / WORD).write_text(_STOP)  # not renamed to: it takes the place of what others have open


def asked_to_stop(folder: Path) -> bool:
    """Whether the workers of a folder's runs are asked to stop; not without word."""
    try:
        return (folder / WORD).read_text() == _STOP
    except OSError:
        return False


def leader_asked(folder: Path, collective: Collective) -> Callable[[], bool]:
    """Return the question for a worker of a run; the first one answers for all, who hear of it with the gradient."""
    return lambda: collective.rank == 0 and asked_to_stop(folder)
