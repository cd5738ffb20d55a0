"""How well features without labels tell classes apart: by the labels of the nearest other images."""

from __future__ import annotations

import torch
from torch import Tensor

_NEIGHBOURS = 20
_PART = 512  # images at a time, as their cosines to all known ones are kept


@torch.no_grad()
def neighbour_accuracy(known: Tensor, known_labels: Tensor, asked: Tensor, labels: Tensor) -> float:
    """Return the fraction of images whose label is the commonest among those of their 20 nearest known images.

    Nearness is the cosine of features; the smallest label wins where two are as common.

    Args:
        known: M x D features of labelled images; all of them are neighbours where M is below 20.
        known_labels: Their M labels.
        asked: N x D features of other images.
        labels: Their N labels.
    """
    known, asked = (torch.nn.functional.normalize(features, dim=1) for features in (known, asked))
    right = 0
    for part, truth in zip(asked.split(_PART), labels.split(_PART), strict=True):
        nearest = (part @ known.T).topk(min(_NEIGHBOURS, len(known)), dim=1).indices
        votes = torch.nn.functional.one_hot(known_labels[nearest], int(known_labels.max()) + 1).sum(1)
        right += int((votes.argmax(1) == truth).sum())
    return right / len(labels)
