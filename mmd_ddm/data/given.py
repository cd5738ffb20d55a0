"""Images that the user names: how many there are, and whether they have colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.data.decode import CorruptImageError, is_grey
from mmd_ddm.data.names import MANIFEST
from mmd_ddm.data.readers.hub import PREFIX
from mmd_ddm.data.readers.open import absolute, known_source

if TYPE_CHECKING:
    from mmd_ddm.data.store import Rows

_HEADERS = 64  # images that decide whether a data set of the user is grey


def is_remote(data: str) -> bool:
    """Whether images would have to be downloaded."""
    return data.startswith(PREFIX)


def count(data: str) -> int:
    """Return how many images there are; a UserError if nothing is there that is known how to read."""
    store = store_at(data)
    return len(known_source(data)) if store is None else len(_rows(store))


def are_grey(data: str) -> bool:
    """Whether the images have one channel: those of a store, or as the headers of the first 64 all say."""
    store = store_at(data)
    if store is not None:
        return bool(_rows(store).shape[0] == 1)
    source, grey = known_source(data), list[bool]()
    for content, _ in source.read(0, min(_HEADERS, len(source))):
        try:
            grey.append(is_grey(content))
        except CorruptImageError:
            continue  # `prepare` names it
    return bool(grey) and all(grey)


def store_at(data: str) -> Path | None:
    """Return the folder of prepared images that a path names, if it names one."""
    folder = Path(absolute(data))
    return folder if (folder / MANIFEST).is_file() else None


def _rows(store: Path) -> Rows:
    from mmd_ddm.data.store import Rows  # PyTorch, for which a wrong path need not wait

    return Rows(store)
