"""Half precision for training where the processor computes faster in it."""

from __future__ import annotations

import torch


def fast_precision(device: str) -> torch.autocast:
    """Compute convolutions and products in bfloat16 on a GPU, and on processors that have instructions for it."""
    kind = torch.device(device).type
    has_it = kind != "cpu" or getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.autocast(kind, torch.bfloat16, enabled=has_it)
