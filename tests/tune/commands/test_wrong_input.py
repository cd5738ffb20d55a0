"""Wrong input to the search: one sentence, status 2, nothing left behind."""

import os

import pytest

from tests.tune.commands.driver import assert_refused, left, status
from tune.search import main

DIGITS = ["--dataset", "digits"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "study.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--dataset is missing"),
        ([*DIGITS, "--nope"], "unrecognized arguments: --nope"),
        ([*DIGITS, "--steps", "0"], "0 is not a positive whole number"),
        ([*DIGITS, "--steps", "2000"], "a budget is 1 to 1000"),
        ([*DIGITS, "--steps", "five"], "five is not a positive whole number"),
        ([*DIGITS, "--space", "foo=1"], "'foo' can't be searched"),
        ([*DIGITS, "--space", "learning_rate=-1..1"], "learning_rate is -1.0; it must be"),
        ([*DIGITS, "--space", "features=clop"], "choose one of: classifier, contrastive"),
        ([*DIGITS, "--space", "steps=5,2000"], "a budget is 1 to 1000"),
        ([*DIGITS, "--space", "steps=5..2000"], "a budget is 1 to 1000"),
        ([*DIGITS, "--output", "held"], "--resume held"),
        ([*DIGITS, "--final-images", "1" + "0" * 12], "make --final-images smaller"),
        ([*DIGITS, "--output", "x" * 300], "name too long"),
        ([*DIGITS, "--output", "file/study"], "can't be written (Not a directory)"),
        ([*DIGITS, "--output", "/proc/nowhere/study"], "can't be written"),
        (["--resume", "empty"], "there is no study in empty"),
        (["--resume", "nowhere"], "there is no study in nowhere"),
        (["--resume", "held"], "study.json is damaged"),
    ],
)
def test_one_sentence_and_nothing_left(tmp_path, capsys, arguments, words):
    assert_refused(main, arguments, words, tmp_path, capsys)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:1"),
        ("RAY_ADDRESS", "127.0.0.1:1"),
        ("RAY_ADDRESS", "nonsense"),
        ("MLFLOW_TRACKING_URI", "garbage"),
        ("RAY_ADDRESS", "ray://127.0.0.1:1"),
    ],
)
def test_a_server_that_does_not_answer_is_found_before_anything_starts(tmp_path, capsys, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    before = left(tmp_path)
    assert status(main, DIGITS) == 2
    said = capsys.readouterr().err
    assert value in said
    assert f"unset {variable}" in said or "or unset it" in said
    assert len(said.splitlines()) == 1
    assert left(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path, capsys):
    (tmp_path / "empty").chmod(0o500)
    assert status(main, [*DIGITS, "--output", "empty/study"]) == 2
    assert "can't be written (Permission denied)" in capsys.readouterr().err


def test_a_new_folder_is_only_tried(tmp_path):
    from tune.study.folder import check_folder

    before = left(tmp_path)
    check_folder(tmp_path / "a" / "b")
    check_folder(tmp_path / "empty")
    assert left(tmp_path) == before
