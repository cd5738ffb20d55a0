"""What is said of a store says no password."""

from __future__ import annotations

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.experiment.tracking.store import check_reachable, shown, shown_line, ui_command, unusable


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:secret@127.0.0.1:1", "http://me:***@127.0.0.1:1"),
        ("postgresql+psycopg2://me:se@cr:et@db:5432/mlflow", "postgresql+psycopg2://me:***@db:5432/mlflow"),
        ("http://me@host:5000/a@b", "http://me@host:5000/a@b"),
        ("sqlite:////mnt/a:b@c.db", "sqlite:////mnt/a:b@c.db"),
    ],
)
def test_no_password_is_shown(uri: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(uri) == expected
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert expected in ui_command()
    error = unusable(uri, RuntimeError(f"no connection to {uri} today"))
    assert expected in str(error)
    assert "secret" not in str(error)
    assert shown_line(error) == str(error)[:200]


def test_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    with pytest.raises(UserError) as refused:
        check_reachable()
    assert "http://me:***@127.0.0.1:1" in str(refused.value)
    assert "secret" not in str(refused.value)
