"""Feature spaces as they are written, such as `inception+0.5*clip`: names and weights."""

from __future__ import annotations

import math
import re

from mmd_ddm.errors import UserError


def parse_features(text: str) -> tuple[tuple[float, str], ...]:
    """Read a weighted sum of feature spaces.

    Args:
        text: Names joined by +, each with or without a positive weight before it: `inception+0.5*clip`.

    Returns:
        (w_i, name_i) for each, w_i = 1 where none is written; the loss is sum_i w_i MMD^2 in space i.

    Raises:
        UserError: If a name or weight is missing, a weight isn't a positive number, or a name comes twice.
    """
    terms = []
    for term in text.split("+"):
        weight, star, name = term.rpartition("*")
        terms.append((_weight(weight, text) if star else 1.0, name.strip()))
    names = [name for _, name in terms]
    if not all(re.fullmatch(r"[A-Za-z][\w.:/@-]*", name) for name in names):
        raise UserError(f"Features are {text!r}; write names joined by +, such as inception+0.5*clip.")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Features are {text!r}, with {name!r} twice; write it once, with the sum of its weights.")
    return tuple(terms)


def _weight(written: str, text: str) -> float:
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UserError(f"Features are {text!r}; the weight {written.strip()!r} must be a positive number.")
    return weight
