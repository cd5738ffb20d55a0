"""The embedded data set: handwritten digits that come with scikit-learn, nothing to download."""

from __future__ import annotations

import torch
from torch import Tensor


def read_digits() -> tuple[Tensor, Tensor]:
    """Return scikit-learn's scans of handwritten digits, 1797 x 1 x 8 x 8 uint8, and their labels, int64 in 0..9.

    A scan holds the number of dark cells, 0 to 16, in each of 8 x 8 blocks; v becomes round(255 v / 16).
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    counts = torch.from_numpy(scans.images)  # float64, whole numbers
    images = (counts * 255 / 16).round().to(torch.uint8).unsqueeze(1).contiguous()
    return images, torch.from_numpy(scans.target).to(torch.int64)
