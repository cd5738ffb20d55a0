"""Named configurations: each is a function of the data set that returns a complete run."""

from __future__ import annotations

from collections.abc import Callable

from mmd_ddm.data.catalogue import entry
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config


def paper(dataset: str) -> Config:
    """The paper's text, Section IV-A: batch 128, Adam at 5e-6, about 500 iterations, cubic kernel, DDIM, linear."""
    return Config.from_flat(
        {
            "dataset": dataset,
            "features": entry(dataset).feature_spaces[0],
            "reference": "batch",
            "learning_rate": 5e-6,
            "updates": 500,
            "batch": 128,
            "kernel": "cubic",
            "schedule": "linear",
        }
    )


def published(dataset: str) -> Config:
    """The published code's CIFAR-10 trainer: batch 64, clip 0.5, dropout on, 16 evaluations for a budget of 15."""
    return paper(dataset).replace(batch=64, clip=0.5, dropout="train", schedule="stride")


def best(dataset: str) -> Config:
    """What our own measurements on digits prefer (README, "What it gives on digits").

    A characteristic kernel in the self-supervised space, the whole bank, and a learning rate at which the raw weights
    oscillate but their average does not.
    """
    return paper(dataset).replace(
        features=entry(dataset).feature_spaces[-1],  # an entry names its self-supervised space last
        kernel="rational_quadratic",
        bandwidth="0.3*median",
        reference="bank",
        learning_rate=2e-4,
        updates=120,
        ema=0.97,
        clip=1.0,
    )


PRESETS: dict[str, Callable[[str], Config]] = {"paper": paper, "published": published, "best": best}


def preset(name: str, dataset: str) -> Config:
    """A preset by name.

    Raises:
        UserError: unknown preset or data set.
    """
    if name not in PRESETS:
        raise UserError(f"preset is {name!r}; it must be one of {', '.join(PRESETS)}")
    return PRESETS[name](dataset)
