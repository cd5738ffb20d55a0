"""A real study of two tiny trials that is interrupted while its final scores are measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.running import ROOT, Running
from tests.tune.commands.real_study import ARGUMENTS

pytestmark = [pytest.mark.slow, pytest.mark.faults]
SEARCH = ROOT / "tune" / "search.py"


def scores(folder: Path) -> dict[str, object]:
    """The final scores by what was scored, each there once."""
    rows = json.loads((folder / "s" / "scores.json").read_text())
    found = {json.dumps(row["model"], sort_keys=True): row["scores"] for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("undisturbed")
    study = Running(folder, SEARCH, *ARGUMENTS)
    assert study.ended() in (0, 3), study.errors
    return scores(folder)


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "ctrl-c twice"])
def test_the_resumed_study_measures_what_is_missing(how: str, tmp_path: Path, undisturbed: dict[str, object]) -> None:
    study = Running(tmp_path, SEARCH, *ARGUMENTS)
    study.wait_until(lambda: "] scored " in study.said)  # the first of them
    if how == "sigterm":
        study.process.terminate()
    else:
        study.ctrl_c()
    if how == "ctrl-c twice":
        study.ctrl_c()
    assert study.ended(60) == 130, study.errors
    assert "Traceback" not in study.errors
    assert "goes on" in study.said + study.errors
    kept = scores(tmp_path)
    assert kept.items() <= undisturbed.items()
    models = [(tmp_path / f"s/trials/{number:03d}/model/mmd_ddm.json").stat().st_mtime_ns for number in range(2)]
    assert Running(tmp_path, SEARCH, "--resume", "s").ended() in (0, 3)
    assert scores(tmp_path) == undisturbed
    again = [(tmp_path / f"s/trials/{number:03d}/model/mmd_ddm.json").stat().st_mtime_ns for number in range(2)]
    assert again == models  # no trial ran again
