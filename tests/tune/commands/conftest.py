"""Starts the real study before the first test: it mostly waits for its processes, which leaves room for the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune.commands.real_study import RealStudy

STUDY = pytest.StashKey[RealStudy]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start it if one of its tests is to be run."""
    if not session.config.option.collectonly and any(item.path.name == "test_real_study.py" for item in session.items):
        session.stash[STUDY] = RealStudy()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing of it."""
    if (study := session.stash.get(STUDY, None)) is not None:
        study.remove()


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Path:
    """The working directory of the finished study."""
    return request.session.stash[STUDY].finished()
