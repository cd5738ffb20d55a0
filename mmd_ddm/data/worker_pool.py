"""Spread the parts of a long job over processes that end with this one, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import ModuleType

import torch

from mmd_ddm.errors import UserError
from mmd_ddm.progress import progress

Work = Callable[[int], int]  # makes a part; returns how many images it has
_work: Work | None = None  # of a worker process


def run_parts(work: Work, parts: Sequence[int], stage: str, processes: int | None = None) -> None:
    """Make parts in new processes, or in this one where one process is enough.

    Args:
        work: Makes the part of a number, whole or not at all; goes to the processes by pickling.
        parts: Their numbers.
        stage: What the progress bar is called.
        processes: How many; None: one a core that this process may use.

    Raises:
        UserError: If a process was killed, most likely because memory ran out.
        Exception: What `work` raised first; parts that were being made are finished, the others are not begun.
    """
    number = min(processes or len(os.sched_getaffinity(0)), len(parts))
    images = 0
    with progress(stage, len(parts)) as advance:
        if number <= 1:
            for part in parts:
                images += work(part)
                advance(f"({images} images)")
            return
        # new interpreters: a fork would copy locks that threads of this process hold
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(number, mp_context=context, initializer=_begin, initargs=(work,))
        try:
            with _fresh_start():
                futures: list[Future[int]] = [pool.submit(_make, part) for part in parts]
            for future in as_completed(futures):
                images += future.result()
                advance(f"({images} images)")
        except BrokenProcessPool:
            cause = "a process was killed, most likely because memory ran out"
            raise UserError(f"{cause}; use fewer --processes: it goes on where it stopped") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(work: Work) -> None:
    global _work
    _work = work
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _make(part: int) -> int:
    assert _work is not None
    return _work(part)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # what was half-written has a temporary name


@contextmanager
def _fresh_start() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one, and do not run this one's script again.

    A spawned process imports the script it came from, which only a script with a guard bears, and standard input and
    notebooks not at all. Nothing of it is needed here, so for as long as processes are started there is none.
    """
    script = sys.modules["__main__"]
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main_thread else None
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        if main_thread:
            signal.signal(signal.SIGINT, before)
