"""Half precision for training where the processor computes faster in it."""

from __future__ import annotations

import torch

from mmd_ddm.training import has_bfloat16


def fast_precision(device: str) -> torch.autocast:
    """Compute convolutions and products in bfloat16 on devices that have instructions for it."""
    where = torch.device(device)
    return torch.autocast(where.type, torch.bfloat16, enabled=has_bfloat16(where))
