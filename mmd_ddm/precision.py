"""How precisely networks calculate; everything else, MMD and scores above all, calculates in float32 or better."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

PRECISIONS = FP32, TF32, BF16 = ("fp32", "tf32", "bf16")


def inside_network(precision: str, device: str) -> AbstractContextManager[object]:
    """Within it, a network's forward pass calculates in a precision; its backward pass follows it.

    Args:
        precision: `bf16`: matrix products and convolutions in bfloat16, where autocast deems it safe; the others
            change nothing here.
        device: Type of the device that calculates.
    """
    import torch

    return torch.autocast(device, torch.bfloat16) if precision == BF16 else nullcontext()


def use_tensor_cores(precision: str) -> None:
    """Let NVIDIA GPUs round the factors of float32 products to 10 bits (TF32), or not, in this process from now on.

    PyTorch does so in convolutions unless told otherwise. `fp32` doesn't; `tf32` and `bf16` do, in products too.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != FP32


@contextmanager
def whole_products() -> Iterator[None]:
    """Within it, products of float32 numbers are those of IEEE 754, whatever networks may do."""
    import torch

    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
