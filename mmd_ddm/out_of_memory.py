"""Work that fits: what runs out of memory is done again, smaller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from mmd_ddm.errors import first_line, out_of_memory

if TYPE_CHECKING:
    from torch import device

Size = TypeVar("Size")
Result = TypeVar("Result")


def fitted(
    work: Callable[[Size], Result], size: Size, smaller: Callable[[Size, str], Size], on: device
) -> tuple[Result, Size]:
    """Do work in pieces of some size or, where memory runs out, in smaller ones.

    Args:
        work: given a size; may be done again.
        size: to begin with.
        smaller: given a size that did not fit and what was said then, lets go of what is left of that work and returns
            the next size; raises ResourceError where there is none.
        on: the device that calculates.

    Returns:
        What the work returned, and the size that fitted.
    """
    while True:
        try:
            return work(size), size
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            said = first_line(error)
        # beyond the except block, whose traceback holds on to what didn't fit
        size = smaller(size, said)
        if on.type == "cuda":
            import torch

            torch.cuda.empty_cache()
