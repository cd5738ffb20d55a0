"""A single setting: a dataclass field that knows how it is read, what it may be, and its help text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmd_ddm.errors import UserError

Scalar = str | int | float | None
Setting = dataclasses.Field[Any]


@dataclass(frozen=True)
class Rule:
    """What a setting may be: how it is read from text or JSON, whether it is allowed, and that in words.

    `choices` are all of its values where these are names.
    """

    read: Callable[[object], Scalar]
    allowed: Callable[[Scalar], bool]
    words: str
    choices: tuple[str, ...] = ()


def setting(default: Scalar, rule: Rule, help_text: str) -> Any:  # as dataclasses.field: the type of its class's field
    """A dataclass field that knows its rule and its help text."""
    return field(default=default, metadata={"rule": rule, "help": help_text})


def one_of(*names: str) -> Rule:
    """One of some names."""
    return Rule(str, lambda value: value in names, f"one of {', '.join(names)}", names)


def _within(low: float, high: float, low_included: bool = True) -> Callable[[Scalar], bool]:
    def allowed(value: Scalar) -> bool:
        return isinstance(value, (int, float)) and (low <= value if low_included else low < value) and value <= high

    return allowed


def whole(low: int, high: float = float("inf")) -> Rule:
    """A whole number in a range, its ends included."""
    words = f"a whole number of at least {low}" if high == float("inf") else f"a whole number from {low} to {high:.0f}"
    return Rule(_read_whole, _within(low, high), words)


def _read_whole(value: object) -> int:
    read = float(str(value))
    if read != int(read):
        raise ValueError
    return int(read)


def number(low: float, high: float, words: str, low_included: bool = True) -> Rule:
    """A number in a range, its upper end included."""
    return Rule(lambda value: float(str(value)), _within(low, high, low_included), words)


def or_none(rule: Rule) -> Rule:
    """What another rule allows, or none."""

    def read(value: object) -> Scalar:
        return None if value is None or value == "none" else rule.read(value)

    return Rule(read, lambda value: value is None or rule.allowed(value), f"{rule.words}, or none")


def checked(check: Callable[[str], object], words: str) -> Rule:
    """Text that a function does not refuse with a UserError."""

    def allowed(value: Scalar) -> bool:
        check(str(value))
        return True

    return Rule(str, allowed, words)


def read_place(value: object) -> str:
    """A path that is there, absolute, since workers have another working directory; any other name as it is."""
    path = Path(str(value)).expanduser()
    return str(path.absolute()) if path.exists() else str(value)


def read(item: Setting, value: object) -> Scalar:
    """Read a value from text or JSON; raises UserError if it is not of the setting's type."""
    rule: Rule = item.metadata["rule"]
    try:
        return rule.read(value)
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{item.name} is {value!r}; it must be {rule.words}") from None


def check(item: Setting, value: Scalar) -> None:
    """Raise a UserError, which names the setting, the value and what is allowed, if the value is not."""
    rule: Rule = item.metadata["rule"]
    if not rule.allowed(value):
        raise UserError(f"{item.name} is {value!r}; it must be {rule.words}")
