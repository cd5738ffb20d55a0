"""The commands of the search end as those of `mmd-ddm` do."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from mmd_ddm.errors import DivergenceError, UserError
from tune.options import Parser, run


def status(error: BaseException | None, *arguments: str) -> int:
    def work(options: argparse.Namespace, started: float) -> int:
        if error is not None:
            raise error
        return 7

    parser = Parser("command", None, "")
    parser.add_argument("--weights", type=Path)
    return run(parser, arguments, lambda options: None, work)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UserError("wrong"), 2),
        (DivergenceError("diverged"), 1),
        (OSError(28, "full"), 1),
        (OSError(13, "denied"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_sentence_with_its_status(
    error: BaseException, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(error) == expected
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert str(error) in said


def test_the_status_of_the_work_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMD_DDM_WEIGHTS", "")
    assert status(None, "--weights", str(tmp_path)) == 7
    assert os.environ["MMD_DDM_WEIGHTS"] == str(tmp_path)
    assert status(None, "--weights", str(tmp_path / "nowhere")) == 2
