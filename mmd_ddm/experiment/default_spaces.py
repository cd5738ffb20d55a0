"""The feature spaces that one's own images are trained and scored in where none are named."""

from __future__ import annotations

from dataclasses import replace

from mmd_ddm.data.names import OWN
from mmd_ddm.data.spec import DatasetSpec
from mmd_ddm.features.registry import available_feature_spaces, weights_of
from mmd_ddm.features.trained.weights import LAYERS, TRAINED

# README, "Feature spaces for pictures": what gaining in each of them does to all others
_LOSS = ("scattering", "patches", "pixels")
_HELD_OUT = ("random_conv", "spectrum")


def with_spaces(known: DatasetSpec) -> DatasetSpec:
    """Return what is known of a data set, with spaces that are on this machine if it is one's own images.

    Those of a catalogue's data set stay, since its published scores are in them.
    """
    return with_spaces_at_hand(known) if known.name == OWN else known


def with_spaces_at_hand(known: DatasetSpec) -> DatasetSpec:
    """Return what is known of a data set, with feature spaces that are on this machine.

    Its own where their weights are at hand. Otherwise those that were trained on the images, and those that need no
    training: several of either kind in the loss, since no single one is to be trusted, and others to be scored in.
    """
    if all(weights_of(name, known.name).present for name in known.feature_spaces):
        return known
    trained = [name for name in TRAINED if name in available_feature_spaces(known.name)]
    loss = (*(f"{name}{LAYERS}" for name in trained[-1:]), *_LOSS)
    return replace(known, feature_spaces=(*trained, *_LOSS, *_HELD_OUT), loss_features="+".join(loss))
