"""How images and places are named: in settings, and where runs are recorded."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mmd_ddm.data.names import OWN

_LONGEST = 80


def read_place(value: object) -> str:
    """A path that is there, absolute, since workers have another working directory; any other name as it is."""
    path = Path(str(value)).expanduser()
    # os.path: a name that no file can have is none that is there
    return str(path.absolute()) if os.path.exists(path) else str(value)


def read_name(value: object) -> str:
    """A name that folders, MLflow's experiments and its registered models can have; ValueError for another."""
    name = str(value)
    if not re.fullmatch(rf"[^\W_][^/:\x00-\x1f]{{0,{_LONGEST - 1}}}", name):
        raise ValueError
    return name


def read_budgets(value: object) -> str:
    """Budgets joined by commas, each once, the smallest first; ValueError for what is none."""
    budgets = {int(each) for each in str(value).split(",")}
    if min(budgets) < 1:
        raise ValueError
    return ",".join(map(str, sorted(budgets)))


def images_name(dataset: str, data: str | None, name: str | None) -> str:
    """Return what a data set is called where runs are recorded.

    One's own images are called by the name that they were given, or else by that of their folder or file; those of
    `hub:owner/name@revision:files` are owner-name.
    """
    if dataset != OWN or data is None:
        return dataset
    if name is not None:
        return name
    hub = re.match("hub:([^@:]+)", data)
    known = hub[1].replace("/", "-") if hub else Path(data).stem
    return re.sub(r"[/:\s]+", "-", known)[:_LONGEST] or OWN
