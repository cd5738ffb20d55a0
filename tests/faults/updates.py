"""All updates that a run makes, those too that it makes again after its process died."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmd_ddm.experiment.distributed.background import beside
from mmd_ddm.experiment.run_folder import METRICS, read_rows

PAUSE = 0.05  # seconds; what is made again replaces the former rows only after a new process's imports


class Updates:
    """The updates of the run in a folder, in the order in which they were made."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / METRICS
        self._made: dict[float, int] = {}  # by their time

    def _look(self) -> None:
        rows, _ = read_rows(self._file)
        self._made |= {row["time"]: int(row["update"]) for row in rows if "score" not in row}

    @property
    def made(self) -> list[int]:
        """Their numbers."""
        self._look()
        return [self._made[when] for when in sorted(self._made)]

    def starts(self) -> list[tuple[int, int]]:
        """Return where it went on after each death: the update that it went on from, and how many it made again."""
        return [(after - 1, before + 1 - after) for before, after in itertools.pairwise(self.made) if after <= before]

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Look all the time while a block runs."""

        def follow(done: threading.Event) -> None:
            while not done.wait(PAUSE):
                self._look()

        with beside(follow):
            yield
