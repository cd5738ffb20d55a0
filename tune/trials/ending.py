"""How a trial ended, as its process left word of it in the trial's folder."""

from __future__ import annotations

import traceback
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path

from mmd_ddm.errors import ResourceError, disk_full, out_of_memory

FAILURE, DEATH, INTERRUPTED = "failure.txt", "death.txt", "interrupted.txt"
_DIED = (
    "its process died: it was killed, most likely because memory ran out; run fewer trials at once with --concurrent, "
    "or search smaller batches"
)


class Ending(Enum):
    """Why a trial does not run any more."""

    ITSELF = auto()  # it came to its end, or was stopped early
    FAILED = auto()  # by an error of its own, which it would make again
    DIED = auto()  # with its process or its workers', which says nothing of the trial
    INTERRUPTED = auto()  # after a checkpoint, since the study was

    @property
    def goes_on(self) -> bool:
        """Whether a resumed study takes it up again."""
        return self in (Ending.DIED, Ending.INTERRUPTED)


def begin(folder: Path) -> None:
    """Forget how the trial in a folder ended before."""
    for name in (FAILURE, DEATH, INTERRUPTED):
        (folder / name).unlink(missing_ok=True)


def leave_word(folder: Path, error: Exception) -> None:
    """Write down the error that a trial ended with; the first line is the reason."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if out_of_memory(error):
        reason = f"memory ran out ({reason[:200]}); search smaller batches, or set micro_batch"
    name = DEATH if isinstance(error, ResourceError) or disk_full(error) else FAILURE
    with suppress(OSError):  # no room even for this: its process will be gone without a word
        (folder / name).write_text(f"{reason}\n\n{''.join(traceback.format_exception(error))}")


def leave_interrupted(folder: Path) -> None:
    """Write down that a trial stopped because it was asked to."""
    (folder / INTERRUPTED).touch()


def ending(folder: Path, *, gone: bool) -> Ending:
    """Return how the trial in a folder ended, whose process may be `gone`."""
    for name, found in ((FAILURE, Ending.FAILED), (DEATH, Ending.DIED), (INTERRUPTED, Ending.INTERRUPTED)):
        if (folder / name).is_file():
            return found
    return Ending.DIED if gone else Ending.ITSELF


def reason(folder: Path) -> str:
    """Return why a trial failed or died, in one sentence."""
    files = (folder / FAILURE, folder / DEATH)
    return next((file.read_text().splitlines()[0] for file in files if file.is_file()), _DIED)
