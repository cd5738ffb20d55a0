"""The parts of a report, written once and rendered as Markdown (here) and as a page (tune/report/page.py).

Text may hold `code` and **strong** words, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Heading:
    """A heading.

    Args:
        text: Its words.
        level: 1 for the report's own, 2 for a section's.
    """

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A few numbers to be seen first, each with what it is."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        head: Words of the columns.
        rows: Cells.
        words: Columns whose cells are words, set to the left; the others hold numbers.
        strong: Rows that stand out, by place.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[str, ...] = ()
    strong: tuple[int, ...] = ()


@dataclass(frozen=True)
class Figure:
    """An image.

    Args:
        file: PNG.
        text: What it shows.
    """

    file: Path
    text: str


@dataclass(frozen=True)
class Code:
    """Lines to be copied.

    Args:
        text: The lines.
        language: Of the text; empty for a command.
    """

    text: str
    language: str = ""


Block = Heading | Paragraph | Bullets | Facts | Table | Figure | Code


def markdown(blocks: Iterable[Block]) -> str:
    """Return the blocks as Markdown; figures by their name, as files beside it."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Paragraph(text):
            return text
        case Bullets(items):
            return "\n".join(f"* {item}" for item in items)
        case Facts(items):
            return "\n".join(f"* **{number}** {what}" for number, what in items)
        case Table():
            return table(block)
        case Figure(file, text):
            return f"![{text}]({file.name})"
        case Code(text, language):
            return f"```{language}\n{text}\n```"


def table(block: Table) -> str:
    """Return a table as Markdown."""
    places = enumerate(block.rows)
    rows = [[f"**{cell}**" if cell and i in block.strong else cell for cell in row] for i, row in places]
    rule = "|".join("---" if name in block.words else "--:" for name in block.head)
    return "\n".join([_line(block.head), f"|{rule}|", *map(_line, rows)])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
