"""Choices of the discrepancy by name, apart from what they compute; kernels have `specification`."""

from __future__ import annotations

DTYPES = ("float32", "float16")  # of a bank on disk, as PyTorch calls them
