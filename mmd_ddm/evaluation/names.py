"""Which measures there are, by name, and the feature spaces that some of them need."""

from __future__ import annotations

from collections.abc import Collection

from mmd_ddm.errors import UserError

MEASURES = ("kid", "fid", "precision_recall", "nn_auc", "is", "sfid")
LOGITS, SPATIAL = "inception_logits", "inception_spatial"
OWN_SPACE = {"is": LOGITS, "sfid": SPATIAL}  # measures that belong to one layer of one network
KINDS = {"precision_recall": ("precision", "recall")}  # of a measure's metrics, where they are not called as it is


def parse_measures(text: str) -> tuple[str, ...]:
    """Read names joined by commas; an unknown one raises a UserError."""
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in MEASURES:
            raise UserError(f"measure {name!r} is not known; choose from {', '.join(MEASURES)}")
    return names


def spaces_of(measures: Collection[str]) -> tuple[str, ...]:
    """Feature spaces that measures need for themselves."""
    return tuple(space for measure, space in OWN_SPACE.items() if measure in measures)
