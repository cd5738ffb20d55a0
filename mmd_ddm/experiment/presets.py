"""Named configurations: each is a function of the data set that returns what differs from the defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.names import OWN
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.default_spaces import with_spaces
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.features.published.preprocessing import EVALUATION, PUBLISHED, TABLE

Values = dict[str, Scalar]
DEPENDS = ("data", "resolution", "score_features")  # on these, beside the data set, depends what a preset is
_PUBLISHED: Mapping[str, Values] = {  # the published trainers that are not CIFAR-10's
    "celeba": {"batch": 128},
    "lsun_church": {"batch": 128, "learning_rate": 1e-6, "clip": 1.0},  # there as four statistics of 32, averaged
}
# found on networks of 0.4 and 1.7 million weights, as `mmd-ddm pretrain` makes them (README, "Settings that carry
# over"); the published ones are 20 to 70 times larger and keep the paper's
_SMALL: Values = {"learning_rate": 2e-4, "updates": 120}
_MEASURED: Mapping[str, Values] = {"digits": _SMALL, "cifar10_small": _SMALL, OWN: _SMALL}
# of pictures: cubic draws outliers in, which a bounded kernel does not feel; more of it costs variety
_PRECISE = "0.1*cubic+rational_quadratic"


def paper(known: DatasetSpec) -> Values:
    """The paper's text, Section IV-A: batch 128, Adam at 5e-6, about 500 iterations, cubic kernel, DDIM, linear."""
    features = known.feature_spaces[0]
    return {
        "features": features,
        "preprocessing": PUBLISHED if (features, PUBLISHED) in TABLE else EVALUATION,
        "reference": "batch",
        "learning_rate": 5e-6,
        "updates": 500,
        "batch": 128,
        "kernel": "cubic",
        "schedule": "linear",
    }


def published(known: DatasetSpec) -> Values:
    """The published trainer of the data set, CIFAR-10's by default: dropout on, 16 evaluations for a budget of 15."""
    common: Values = {"batch": 64, "clip": 0.5, "dropout": "train", "schedule": "stride"}
    return {**paper(known), **common, **_PUBLISHED.get(known.name, {})}


def best(known: DatasetSpec) -> Values:
    """What our own measurements on digits and pictures prefer (README, "Settings that carry over").

    A characteristic kernel, the whole bank, and a self-supervised space or a mixture; beside small networks also a
    learning rate at which the raw weights oscillate but their average does not.
    """
    return {
        **paper(known),
        "features": known.loss_features or known.feature_spaces[-1],  # a data set names its self-supervised space last
        "preprocessing": EVALUATION,
        "kernel": _PRECISE if known.loss_features else "rational_quadratic",
        "bandwidth": "0.3*median",
        "reference": "bank",
        "ema": 0.97,
        "clip": 1.0,
        **_MEASURED.get(known.name, {}),
    }


PRESETS: dict[str, Callable[[DatasetSpec], Values]] = {"paper": paper, "published": published, "best": best}


def preset(
    name: str, dataset: str, data: str | None = None, resolution: int | None = None, score_features: str | None = None
) -> Config:
    """A preset by name, for a data set of the catalogue or one's own images, all as in the configuration.

    `score_features` take the place of the data set's own spaces: the first for `paper`, the last for `best`. Without
    them one's own images have the spaces of `with_spaces`.
    """
    if name not in PRESETS:
        raise UserError(f"preset is {name!r}; it must be one of {', '.join(PRESETS)}")
    known = dataset_spec(dataset, data, resolution)
    if score_features is not None:
        known = replace(known, feature_spaces=tuple(score_features.split("+")), loss_features=None)
    elif (found := with_spaces(known)) != known:  # named, since another machine may have others
        known, score_features = found, "+".join(found.feature_spaces)
    values = {**PRESETS[name](known), "dataset": dataset, "data": data, "resolution": resolution}
    return Config.from_flat({**values, "score_features": score_features})
