from pathlib import Path

import pytest

from mmd_ddm.data import prepare as module
from tests.data.prepare.cases import NUMBER, PART
from tests.data.sources import classes, pictures, png, write_parquet


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "_PART_ROWS", PART)
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_parquet(tmp_path / "data" / "a.parquet", [png(each) for each in pictures(NUMBER)], classes(NUMBER))
