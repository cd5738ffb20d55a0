"""A study that goes on needs to be told nothing twice, and goes on with what it was begun with alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import tune.commands.run_search
import tune.commands.shared_study
from tests.own_data import OwnData, picture
from tune.search import main
from tune.study.folder import Study
from tune.study.settings import SearchSettings

Begun = list[tuple[int | None, int, str | None]]  # trials at once, all trials, folder of weights


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnData:
    return OwnData(tmp_path, monkeypatch)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """What searches were begun or continued with; none of them goes beyond its folder."""
    begun: Begun = []

    def run_search(settings: SearchSettings, open_study: Callable[[], Study[SearchSettings]], started: float) -> int:
        known = open_study().settings
        assert known == settings
        begun.append((known.concurrent, known.trials, os.environ.pop("MMD_DDM_WEIGHTS", None)))
        return 0

    monkeypatch.setattr(tune.commands.run_search, "run_search", run_search)
    monkeypatch.setattr(tune.commands.shared_study, "check_shared", lambda folder, settings: None)
    return begun


def test_a_resumed_search_knows_its_weights_and_how_many_trials_run_at_once(own: OwnData, begun: Begun) -> None:
    asked = ["--score-features", "classifier+pixels", "--weights", str(own.weights), "--concurrent", "3"]
    assert main([*own.images, *asked, "--updates", "2", "--trials", "4", "--output", "s"]) == 0
    assert main(["--resume", "s"]) == 0
    assert main(["--resume", "s", "--concurrent", "1", "--trials", "5"]) == 0
    assert main(["--resume", "s"]) == 0
    weights = str(own.weights)
    assert begun == [(3, 4, weights), (3, 4, weights), (1, 5, weights), (1, 5, weights)]


def test_a_search_is_not_continued_with_other_images(
    own: OwnData, begun: Begun, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [*own.images, "--score-features", "pixels", "--updates", "2", "--output", "s"]
    assert main(new) == 0
    picture(own.photos / "new.png", 100)
    written = (Path("s") / "study.json").read_text()
    assert main(["--resume", "s", "--trials", "9"]) == 2
    assert "the fingerprint of images was '" in capsys.readouterr().err
    assert (Path("s") / "study.json").read_text() == written
    assert len(begun) == 1
