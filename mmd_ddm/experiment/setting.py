"""A single setting: a dataclass field that knows how it is read, what it may be, and its help text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mmd_ddm.errors import UserError

Scalar = str | int | float | None
Setting = dataclasses.Field[Any]


@dataclass(frozen=True)
class Rule:
    """What a setting may be."""

    read: Callable[[object], Scalar]  # from text or JSON
    allowed: Callable[[Scalar], bool]
    words: str  # what is allowed
    choices: tuple[str, ...] = ()  # all values, where these are names


def setting(default: Scalar, rule: Rule, help_text: str) -> Any:  # as dataclasses.field: the type of its class's field
    """A dataclass field that knows its rule and its help text."""
    return field(default=default, metadata={"rule": rule, "help": help_text})


def one_of(*names: str) -> Rule:
    """One of some names."""
    return Rule(str, lambda value: value in names, f"one of {', '.join(names)}", names)


def number(low: float, high: float, words: str, low_included: bool = True) -> Rule:
    """A number in a range, its upper end included."""

    def allowed(value: Scalar) -> bool:
        return isinstance(value, (int, float)) and (low <= value if low_included else low < value) and value <= high

    return Rule(lambda value: float(str(value)), allowed, words)


def whole(low: int, high: float = float("inf")) -> Rule:
    """A whole number in a range, its ends included."""

    def read(value: object) -> int:
        if (found := float(str(value))) != int(found):
            raise ValueError
        return int(found)

    words = f"a whole number of at least {low}" if high == float("inf") else f"a whole number from {low} to {high:.0f}"
    return Rule(read, number(low, high, words).allowed, words)


def text(check: Callable[[str], object], words: str) -> Rule:
    """Text that a function does not refuse with a UserError."""
    return Rule(str, lambda value: check(str(value)) is not None, words)


def or_none(rule: Rule) -> Rule:
    """What another rule allows, or none."""

    def read(value: object) -> Scalar:
        return None if value is None or value == "none" else rule.read(value)

    return Rule(read, lambda value: value is None or rule.allowed(value), f"{rule.words}, or none")


def read(item: Setting, value: object) -> Scalar:
    """Read a value from text or JSON, or refuse, with a UserError, one that is not of the setting's type."""
    rule: Rule = item.metadata["rule"]
    try:
        return rule.read(value)
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{item.name} is {value!r}; it must be {rule.words}") from None


def check(item: Setting, value: Scalar) -> None:
    """Refuse, with a UserError, a value that the setting does not allow."""
    rule: Rule = item.metadata["rule"]
    if not rule.allowed(value):
        raise UserError(f"{item.name} is {value!r}; it must be {rule.words}")
