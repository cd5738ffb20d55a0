"""Networks that are compiled: always for batches of one size, since another size would be compiled anew."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

COMPILE = OFF, ON = ("off", "on")
BACKEND = "inductor"
_LIMIT = 64  # forms of a function that are kept compiled: of several models, each with and without gradient
# by the compiler: it looks at all tensors' gradients, and diffusers remembers PyTorch's version
_SAID = ("The .grad attribute of a Tensor that is not a leaf", "Dynamo detected a call to a `functools.lru_cache`")
_rows: ContextVar[int | None] = ContextVar("rows", default=None)


@contextmanager
def batches_of(rows: int) -> Iterator[None]:
    """Within it, what is compiled runs so, batches filled up to so many rows; elsewhere it runs as it was written."""
    before = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(before)


class Compiled:
    """A function from tensors of N rows each to a tensor of N rows, compiled within `batches_of`.

    A smaller batch is filled up with copies of its first row, whose results are dropped and whose gradient is zero.

    Args:
        function: each row of its result depends on the same row of its arguments alone.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._compiled: Callable[..., Tensor] | None = None

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Call the function; its result is that of the uncompiled one to rounding."""
        if (rows := _rows.get()) is None:
            return self._function(*tensors)
        if self._compiled is None:
            self._compiled = _compile(self._function)
        count = len(tensors[0])
        if count > rows:
            raise ValueError(f"a batch has {count} rows where at most {rows} were announced")
        with warnings.catch_warnings():
            for harmless in _SAID:
                warnings.filterwarnings("ignore", harmless)
            result: Tensor = self._compiled(*(_uniform(tensor, rows) for tensor in tensors))
        return result if count == rows else result[:count]

    def __getstate__(self) -> dict[str, object]:
        # what is compiled holds on to this function's network: a copy needs its own
        return {**self.__dict__, "_compiled": None}


def _compile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    import torch

    torch._dynamo.config.recompile_limit = max(_LIMIT, torch._dynamo.config.recompile_limit)
    # random numbers as without compilation, so that dropout's masks are the same with and without gradient
    compiled: Callable[..., Tensor] = torch.compile(
        function, dynamic=False, backend=BACKEND, options={"fallback_random": True} if BACKEND == "inductor" else None
    )
    return compiled


def _uniform(tensor: Tensor, rows: int) -> Tensor:
    """A tensor as every other call has it: so many rows, contiguous, and asking for a gradient wherever one is made."""
    import torch

    if len(tensor) < rows:
        more = tensor[:1].detach().expand(rows - len(tensor), *tensor.shape[1:])
        tensor = torch.cat([tensor, more])
    if torch.is_grad_enabled() and tensor.is_floating_point() and not tensor.requires_grad:
        tensor = tensor.detach().requires_grad_()  # else the chain's first step would be compiled apart
    return tensor.contiguous()
