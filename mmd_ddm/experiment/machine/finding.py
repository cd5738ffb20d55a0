"""What is found out about one thing of a machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether work can be done."""

    OK = "ok"
    NOTE = "note"  # worth knowing; work can be done
    FAULT = "FAULT"


@dataclass(frozen=True)
class Finding:
    """One thing of a machine; of a fault it says what is wrong and how it is mended."""

    what: str
    verdict: Verdict
    said: str

    def __str__(self) -> str:
        return f"{self.verdict:<5}  {self.what:<14}  {self.said}"


def ok(what: str, said: str) -> Finding:
    """Return a thing that is as it should be."""
    return Finding(what, Verdict.OK, said)


def note(what: str, said: str) -> Finding:
    """Return a thing worth knowing."""
    return Finding(what, Verdict.NOTE, said)


def fault(what: str, said: str) -> Finding:
    """Return a thing with which no work can be done."""
    return Finding(what, Verdict.FAULT, said)
