"""Inception Score (Salimans et al. 2016, Section 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mmd_ddm.discrepancy.vectors import Vectors
from mmd_ddm.errors import UserError


class InceptionScore(NamedTuple):
    """Mean and population standard deviation over splits; 1 is the smallest, the number of classes the largest."""

    mean: float
    deviation: float


def inception_score(logits: Vectors, splits: int = 10) -> InceptionScore:
    """exp(E KL(p(class | image) || p(class))) on each split, in float64.

    The splits are consecutive: images in an order that means something, such as by class, must be shuffled before.
    ADM's evaluator (Dhariwal & Nichol 2021), of the paper's Table IX, takes them in order too, 5000 a split, which is
    10 splits of 50 000. torch-fidelity shuffles unless told not to, by numpy's RandomState(2020).permutation(N); in
    one order the two agree to 12 digits.

    The logits (N, C) are of the network's last layer, without its bias for the published score (`inception_logits`,
    C = 1008). Sizes of splits differ by at most one; fewer images than splits raise a UserError.
    """
    count = len(logits)
    if count < splits:
        raise UserError(f"an Inception Score of {splits} splits needs at least as many images; there are {count}")
    scores = []
    for split in range(splits):
        p = logits[split * count // splits : (split + 1) * count // splits].double().softmax(1)
        marginal = p.mean(0)
        # the mean divergence is the entropy of the marginal less the mean entropy
        scores.append((torch.xlogy(p, p).sum(1).mean() - torch.xlogy(marginal, marginal).sum()).exp())
    found = torch.stack(scores)
    return InceptionScore(float(found.mean()), float(found.std(correction=0)))
