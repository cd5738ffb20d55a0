"""Sources that are read whole."""

from pathlib import Path
from typing import Any

import pytest

from mmd_ddm.data.readers.open import open_source
from mmd_ddm.errors import UserError


def refused(spec: str | Path, match: str) -> None:
    with pytest.raises(UserError, match=match):
        everything(str(spec))


def everything(spec: str) -> list[Any]:
    source = open_source(spec)
    return list(source.read(0, len(source)))
