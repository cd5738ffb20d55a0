"""The ways in which a run ends early: on purpose, or because the machine has not enough."""

import errno


class UserError(ValueError):
    """Wrong input: one sentence that says what is wrong and what to do; front ends print it and exit with status 2."""


class ResourceError(RuntimeError):
    """The machine ran out of something while it worked: one sentence with the setting to change."""


class DivergenceError(RuntimeError):
    """The loss or its gradient stopped being finite; the last good checkpoint is kept."""


def first_line(error: BaseException) -> str:
    """What an exception says, without its stack of details; its type if it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no room on a disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, PyTorch's own on the GPU, what its allocators say."""
    own = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    said = str(error)
    return own or (isinstance(error, RuntimeError) and ("can't allocate memory" in said or "not enough memory" in said))
