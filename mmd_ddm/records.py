"""JSON files that this or another program wrote, read with types and ranges: what is wrong is said with its place."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mmd_ddm.errors import UserError

LARGEST = 64 * 2**20  # bytes of a file; the longest that the project writes, a study's scores, is a thousandth of it
_WHOLE = 2**63 - 1  # the largest whole number, as elsewhere
_SHOWN = 60  # characters of a wrong value
T = TypeVar("T")


class Record:
    """A JSON object, or a list within one, whose entries are asked for by name or place, type and range.

    Each question raises a `UserError` if the answer is not of the type, with the file, the entry and what to do.

    Args:
        entries: What the object holds.
        place: The file, and where in it.
        advice: What to do where an entry is wrong.
    """

    def __init__(self, entries: Mapping[str, object], place: str, advice: str = "") -> None:
        self.entries, self._place, self._advice = entries, place, advice

    def __contains__(self, name: str) -> bool:
        """Whether there is an entry, and it is not null."""
        return self.entries.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def damaged(self, reason: str) -> UserError:
        """Return the error that says what is wrong with the file."""
        return UserError(f"{self._place} is damaged ({reason}){self._advice and f'; {self._advice}'}")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within it, what others find wrong with the entries (UserError, TypeError and the like) is `damaged`."""
        try:
            yield
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            if isinstance(error, UserError) and str(error).startswith(self._place):
                raise
            raise self.damaged(str(error)) from None

    def raw(self, name: str) -> object:
        """An entry as it is."""
        if name not in self.entries:
            raise self.damaged(f"it has no {name}")
        return self.entries[name]

    def text(self, name: str) -> str:
        """A string."""
        return self._typed(name, _text, "text")

    def one_of(self, name: str, *allowed: str) -> str:
        """One of some strings."""
        value = self.text(name)
        if value not in allowed:
            raise self._wrong(name, value, f"one of {', '.join(allowed)}")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        return self._typed(name, lambda value: value if isinstance(value, bool) else None, "true or false")

    def whole(self, name: str, low: int = 0, high: int = _WHOLE) -> int:
        """A whole number in a range, its ends included; one that is written as 3.0 too."""
        value = self._typed(name, _whole, "a whole number")
        if not low <= value <= high:
            raise self._wrong(name, value, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A number in a range, its ends included; not NaN."""
        value = self._typed(name, number, "a number")
        if not low <= value <= high:
            raise self._wrong(name, value, f"a number from {low:g} to {high:g}")
        return value

    def wholes(self, name: str) -> list[int]:
        """A list of whole numbers of at least 0."""
        each = self._each(name)
        return [each.whole(key) for key in each]

    def reals(self, name: str) -> list[float]:
        """A list of numbers, none of them NaN."""
        each = self._each(name)
        return [each.number(key) for key in each]

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        each = self._each(name)
        return [each.text(key) for key in each]

    def records(self, name: str) -> list[Record]:
        """A list of objects."""
        each = self._each(name)
        return [each.record(key) for key in each]

    def record(self, name: str) -> Record:
        """An object within."""
        return Record(self.mapping(name), f"{self._place}, {name},", self._advice)

    def mapping(self, name: str) -> dict[str, object]:
        """An object within, as it is."""
        return self._typed(name, lambda value: value if isinstance(value, dict) else None, "an object")

    def scalars(self, name: str) -> dict[str, str | int | float | None]:
        """An object within, of strings, numbers and nulls."""
        found = self.mapping(name)
        for key, value in found.items():
            if not (value is None or isinstance(value, str) or number(value) is not None):
                raise self._wrong(f"{name}, {key},", value, "text, a number or null")
        return found  # type: ignore[return-value]  # checked just now

    def numbers(self) -> dict[str, float]:
        """All entries, each of which is a number, NaN and infinity among them; whole ones stay whole."""
        for name in self:
            self._typed(name, number, "a number")
        return dict(self.entries)  # type: ignore[arg-type]  # checked just now

    def _each(self, name: str) -> Record:
        found = self._typed(name, lambda value: value if isinstance(value, list) else None, "a list")
        return Record({f"{name}[{i}]": value for i, value in enumerate(found)}, self._place, self._advice)

    def _typed(self, name: str, read: Callable[[object], T | None], words: str) -> T:
        found = read(self.raw(name))
        if found is None:
            raise self._wrong(name, self.raw(name), words)
        return found

    def _wrong(self, name: str, value: object, words: str) -> UserError:
        shown = repr(value)
        return self.damaged(f"{name} is {shown[:_SHOWN]}{'...' * (len(shown) > _SHOWN)}; it must be {words}")


def number(value: object) -> float | None:
    """Return a number as one of floating point; None for what is none, or too large."""
    if isinstance(value, float):
        return value
    found = _whole(value)
    return None if found is None else float(found)


def _whole(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _WHOLE else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def size_of(file: Path) -> int:
    """Return the bytes of a file; UserError for a folder, a pipe or the like, OSError if there is nothing."""
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{file} is no regular file; remove it, or name another")
    return status.st_size


def read_text(file: Path) -> str:
    """Read a text file, but nothing that is no file (a pipe would be waited for), is too large or is not UTF-8.

    Raises:
        UserError: If it is one of these.
        OSError: If it is not there, or may not be read.
    """
    if (size := size_of(file)) > LARGEST:
        raise UserError(f"{file} is damaged (it has {size} bytes, more than any file of its kind)")
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is damaged ({error})") from None


def read_json(file: Path, advice: str = "") -> object:
    """Read a JSON file.

    Args:
        file: Its path.
        advice: What to do if it is damaged.

    Raises:
        UserError: If it is no regular file, or not JSON; OSError: if it is not there, or may not be read.
    """
    return parse_json(read_text(file), str(file), advice)


def parse_json(text: str, place: str, advice: str = "") -> object:
    """Read JSON; the errors as of `read_json`."""
    try:
        found: object = json.loads(text)
    except RecursionError:
        raise Record({}, place, advice).damaged("it is nested too deeply") from None
    except ValueError as error:
        raise Record({}, place, advice).damaged(str(error)) from None
    return found


def read_record(file: Path, advice: str = "") -> Record:
    """Read a file that holds one JSON object; arguments and errors as of `read_json`."""
    return as_record(read_json(file, advice), str(file), advice)


def as_record(content: object, place: str, advice: str = "") -> Record:
    """Take what was read for an object, or raise a UserError."""
    if not isinstance(content, dict):
        raise Record({}, place, advice).damaged("it holds no JSON object")
    return Record(content, place, advice)


def changes(former: Mapping[str, object], present: Mapping[str, object]) -> str:
    """Say which entries differ, by name; nothing where none does."""
    keys = sorted(key for key in former.keys() | present.keys() if former.get(key) != present.get(key))
    return ", ".join(f"{key} was {former.get(key)!r} and is {present.get(key)!r}" for key in keys)
