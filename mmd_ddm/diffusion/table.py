"""The coefficients of a sampler as they lie beside a model, in the config of its scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from mmd_ddm.errors import UserError

KIND = "TableScheduler"  # the class whose config holds them
Pairs = tuple[tuple[int, float], ...]  # what a coefficient is of, and its value


class Table(NamedTuple):
    """What `multistep.linear_multistep.LinearMultistep` needs beside the noise levels.

    Args:
        rows: for each evaluation its timestep, and the coefficients of the next image and of the next base.
        predicts: what is combined, `epsilon` or `sample`.
    """

    rows: tuple[tuple[int, Pairs, Pairs], ...]
    predicts: str


def read_table(config: Mapping[str, object]) -> Table | None:
    """Read it from the content of a `scheduler_config.json`; none where the scheduler is another.

    Raises:
        UserError: it is damaged.
    """
    if config.get("_class_name") != KIND:
        return None
    rows, predicts, length = config.get("rows"), config.get("predicts"), config.get("num_train_timesteps")
    if not isinstance(rows, list) or not rows or predicts not in ("epsilon", "sample") or not isinstance(length, int):
        raise _damaged()
    found = []
    for k, row in enumerate(rows):
        if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], int) and 0 <= row[0] < length):
            raise _damaged()
        found.append((row[0], _pairs(row[1], k), _pairs(row[2], k)))
    if not all(image for _, image, _ in found):
        raise _damaged()
    return Table(tuple(found), str(predicts))


def _pairs(values: object, k: int) -> Pairs:
    """Coefficients of the k-th evaluation, which has seen k predictions before its own."""
    if not isinstance(values, list):
        raise _damaged()
    for each in values:
        if not (isinstance(each, list) and len(each) == 2 and isinstance(each[0], int) and 0 <= each[0] <= k + 2):
            raise _damaged()
        if isinstance(each[1], bool) or not isinstance(each[1], (int, float)) or not math.isfinite(each[1]):
            raise _damaged()
    return tuple((i, float(coefficient)) for i, coefficient in values)


def _damaged() -> UserError:
    return UserError("the table of the model's sampler in scheduler_config.json is damaged; export the model again")
