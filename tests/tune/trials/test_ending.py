"""How a trial ended is told by what its process left."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmd_ddm.errors import DivergenceError, ResourceError, UserError
from tune.trials.ending import Ending, begin, ending, leave_interrupted, leave_word, reason


def raised(work: Callable[[], object]) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("work", "end", "words"),
    [
        (lambda: fail(DivergenceError("update 1 has loss nan")), Ending.FAILED, "update 1 has loss nan"),
        (lambda: fail(UserError("two\nlines")), Ending.FAILED, "two lines"),
        (lambda: bytearray(2**62), Ending.FAILED, "memory ran out (MemoryError); search smaller batches"),
        (lambda: torch.empty(2**50), Ending.FAILED, "memory ran out ("),
        (lambda: fail(ResourceError("The process of worker 1 died")), Ending.DIED, "The process of worker 1 died"),
        (lambda: fail(OSError(errno.ENOSPC, "No space left on device")), Ending.DIED, "No space left on device"),
    ],
)
def test_an_error_is_the_trials_own_or_the_machines(
    work: Callable[[], object], end: Ending, words: str, tmp_path: Path
) -> None:
    leave_word(tmp_path, raised(work))
    assert ending(tmp_path, gone=False) is end
    assert words in reason(tmp_path)
    assert "\n" not in reason(tmp_path)
    assert end.goes_on == (end is Ending.DIED)
    begin(tmp_path)
    assert ending(tmp_path, gone=False) is Ending.ITSELF


def test_a_process_that_left_no_word_was_killed(tmp_path: Path) -> None:
    assert ending(tmp_path, gone=True) is Ending.DIED
    assert reason(tmp_path).startswith("its process died: it was killed")
    leave_interrupted(tmp_path)
    assert ending(tmp_path, gone=False) is Ending.INTERRUPTED
    assert Ending.INTERRUPTED.goes_on
