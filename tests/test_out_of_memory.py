"""Work that runs out of memory is done in smaller pieces, once what didn't fit is gone."""

from __future__ import annotations

import weakref

import pytest
import torch

from mmd_ddm.errors import ResourceError
from mmd_ddm.out_of_memory import fitted

CPU = torch.device("cpu")


class Filling:
    """What work keeps while it lasts."""


def test_what_did_not_fit_is_gone_before_the_next_try() -> None:
    kept: list[weakref.ref[Filling]] = []
    tried: list[int] = []

    def work(size: int) -> str:
        filling = Filling()
        kept.append(weakref.ref(filling))
        tried.append(size)
        if size > 3:
            raise torch.OutOfMemoryError(f"CUDA out of memory. No room for {size}.\nand more")
        return f"{size} fit"

    def smaller(size: int, said: str) -> int:
        assert said == f"CUDA out of memory. No room for {size}."
        assert kept[-1]() is None
        return size // 2

    assert fitted(work, 12, smaller, CPU) == ("3 fit", 3)
    assert tried == [12, 6, 3]


def test_it_ends_where_nothing_is_smaller() -> None:
    def work(size: int) -> None:
        raise MemoryError

    def smaller(size: int, said: str) -> int:
        assert said == "MemoryError"
        raise ResourceError(f"not even {size}")

    with pytest.raises(ResourceError, match="not even 5"):
        fitted(work, 5, smaller, CPU)


def test_other_errors_pass() -> None:
    def work(size: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fitted(work, 5, lambda size, said: size, CPU)
