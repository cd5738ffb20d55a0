"""The typed reader of JSON files: what it gives, and what it says of the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from mmd_ddm.errors import UserError
from mmd_ddm.records import LARGEST, Record, read_record

CONTENT = {
    "text": "a", "whole": 3, "round": 3.0, "number": 0.5, "flag": True, "null": None, "wholes": [1, 2], "texts": ["a"],
    "inner": {"x": 1}, "rows": [{"x": 1}], "odd": [1, "a"],
}  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Record:
    (tmp_path / "a.json").write_text(json.dumps(CONTENT))
    return read_record(tmp_path / "a.json", "mend it")


def test_entries_of_their_types_are_given(record: Record) -> None:
    assert (record.text("text"), record.whole("whole"), record.whole("round")) == ("a", 3, 3)
    assert (record.number("number"), record.number("whole"), record.flag("flag")) == (0.5, 3.0, True)
    assert (record.wholes("wholes"), record.texts("texts")) == ([1, 2], ["a"])
    assert (record.record("inner").whole("x"), record.records("rows")[0].whole("x")) == (1, 1)
    assert record.scalars("inner") == record.record("inner").numbers() == {"x": 1}
    assert "text" in record
    assert "null" not in record
    assert "other" not in record


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda r: r.text("whole"), "whole is 3; it must be text"),
        (lambda r: r.whole("number"), "number is 0.5; it must be a whole number"),
        (lambda r: r.whole("flag"), "flag is True; it must be a whole number"),
        (lambda r: r.whole("whole", 4, 9), "whole is 3; it must be a whole number from 4 to 9"),
        (lambda r: r.number("number", 1), "number is 0.5; it must be a number from 1 to inf"),
        (lambda r: r.one_of("text", "b", "c"), "text is 'a'; it must be one of b, c"),
        (lambda r: r.flag("whole"), "whole is 3; it must be true or false"),
        (lambda r: r.wholes("odd"), r"odd\[1\] is 'a'; it must be a whole number"),
        (lambda r: r.record("rows"), "rows is .*; it must be an object"),
        (lambda r: r.record("inner").text("x"), r"a\.json, inner, is damaged \(x is 1; it must be text"),
        (lambda r: r.scalars("inner") and r.scalars("rows"), "rows is .*; it must be an object"),
        (lambda r: r.numbers(), "text is 'a'; it must be a number"),
        (lambda r: r.text("other"), "it has no other"),
    ],
)
def test_others_are_refused_with_their_place(record: Record, ask: Callable[[Record], object], words: str) -> None:
    with pytest.raises(UserError, match=r"a\.json.* is damaged \(.*\); mend it$") as raised:
        ask(record)
    assert raised.match(words)


def test_nan_is_a_number_among_scores_but_in_no_range(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"score": NaN, "big": Infinity}')
    record = read_record(tmp_path / "a.json")
    assert math.isnan(record.numbers()["score"])
    with pytest.raises(UserError, match="score is nan"):
        record.number("score")


def test_what_others_find_wrong_is_told_with_the_place(record: Record) -> None:
    with pytest.raises(UserError, match=r"a\.json is damaged \(it is odd\); mend it"), record.reading():
        raise ValueError("it is odd")


def test_files_too_large_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(LARGEST + 1)  # without a byte on the disk
    with pytest.raises(UserError, match="more than any file of its kind"):
        read_record(tmp_path / "a.json")
