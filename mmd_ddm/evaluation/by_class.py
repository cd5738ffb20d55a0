"""KID of each class by itself, for class-conditional models: whether each label gives images of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.evaluation.metrics import Metric, Metrics
from mmd_ddm.evaluation.reference import RealSide

FEWEST = 50  # images of a class, generated and real: with fewer the error is as large as what is to be seen


def check_images_of_classes(counts: Sequence[int], images: int) -> None:
    """Refuse scores by class from too few images.

    Args:
        counts: How many real images there are of each class; none of a class that is not scored.
        images: How many are generated, of each class in proportion.

    Raises:
        UserError: A class has too few of either.
    """
    rarest = min(range(len(counts)), key=lambda label: counts[label] or sum(counts))
    if counts[rarest] < FEWEST:
        raise UserError(
            f"class {rarest} has {counts[rarest]} real images, and a score by class needs {FEWEST}; leave out per_class"
        )
    if images * counts[rarest] < FEWEST * sum(counts):
        needed = -(-FEWEST * sum(counts) // counts[rarest])
        raise UserError(
            f"of {images} images about {images * counts[rarest] / sum(counts):.0f} would be of class {rarest}, and a "
            f"score by class needs {FEWEST}; generate {needed} or more"
        )


def kid_by_class(
    features: Mapping[str, Tensor], labels: Tensor, real: Mapping[str, RealSide], real_labels: Tensor
) -> tuple[Metrics, ...]:
    """KID in each space of the images of label c against the real images of class c, c = 0, 1 ...; none where none are.

    Args:
        features: (N, D) of generated images, by space.
        labels: (N,) of the same.
        real: in each of the spaces, of M images.
        real_labels: (M,).
    """
    found = []
    for label in range(int(real_labels.max()) + 1):
        mine, theirs = ((each == label).nonzero()[:, 0] for each in (labels, real_labels))
        scores = {}
        if len(theirs):
            scores = {
                space: kid(each[mine.to(each.device)], real[space].features[theirs].to(each.device))
                for space, each in features.items()
            }
        found.append(tuple(Metric("kid", value, space, stderr=error) for space, (value, error) in scores.items()))
    return tuple(found)
