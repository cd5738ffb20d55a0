"""Reports from templates: values become Markdown, and that one HTML page with nothing from elsewhere.

Whatever a template shows of its values shows as itself: only what is `Markdown` already is read as Markdown.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt

_SPECIAL = re.compile(r"[\\`*\[\]<>&|~#]|(?<![^\W_])_|_(?![^\W_])|^[-+=](?![\d.])")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_HTML = MarkdownIt("commonmark", {"html": False}).enable("table")


class Markdown(str):
    """Text that is Markdown already."""


class Table(NamedTuple):
    """A table.

    Args:
        head: Words of the columns.
        rows: Cells.
        words: Columns whose cells are words, set to the left; the others hold numbers.
        strong: Rows that stand out, by place.
    """

    head: Sequence[str]
    rows: Iterable[Sequence[object]]
    words: Collection[str] = ()
    strong: Collection[int] = ()


def escape(value: object) -> Markdown:
    """Return a value as Markdown that shows it as it is, in one line; None as the word none."""
    if isinstance(value, Markdown):
        return value
    text = "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    text = _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))
    return Markdown(_NUMBERED.sub(r"\1\\\2", text))


def bold(value: object) -> Markdown:
    """Return a value in bold letters; nothing for nothing."""
    return Markdown(f"**{text}**" if (text := escape(value)) else "")


def code(text: str, language: str = "") -> Markdown:
    """Return lines to be copied, in a fence longer than any in them."""
    fence = "`" * max([3, *(1 + len(run) for run in re.findall("`+", text))])
    return Markdown(f"{fence}{language}\n{text}\n{fence}")


def link(text: object, address: str) -> Markdown:
    """Return words that lead to an address."""
    return Markdown(f"[{escape(text)}](<{address.replace('<', '%3C').replace('>', '%3E')}>)")


def plural(count: int, noun: str) -> str:
    """Return a number with its noun, one or several."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def joined(words: Iterable[str]) -> str:
    """Return words as a list in a sentence: a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def show(value: object) -> Markdown:
    """Return a value of a template as Markdown: a table, what is Markdown already, or else text as it is."""
    if not isinstance(value, Table):
        return escape(value)
    rows = [map(bold if place in value.strong else escape, row) for place, row in enumerate(value.rows)]
    rule = "|".join("---" if name in value.words else "--:" for name in value.head)
    head, *lines = (f"| {' | '.join(row)} |" for row in [map(escape, value.head), *rows])
    return Markdown("\n".join([head, f"|{rule}|", *lines]))


_LOADER = FileSystemLoader(Path(__file__).parent / "templates")
_PAGES = Environment(loader=_LOADER, autoescape=True, undefined=StrictUndefined)
_REPORTS = Environment(
    loader=_LOADER,
    autoescape=False,  # which would be for HTML; `finalize` is for Markdown
    finalize=show,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_REPORTS.filters |= {"bold": bold, "code": code, "link": link}
_REPORTS.globals |= {"Table": Table, "plural": plural}


def markdown(template: str, values: dict[str, object]) -> str:
    """Return a report as Markdown.

    Args:
        template: Its name, of the folder templates.
        values: What it shows, by name.
    """
    return _REPORTS.get_template(template).render(values)


def page(title: str, text: str, folder: Path) -> str:
    """Return a report as a whole HTML page.

    Args:
        title: Of the window.
        text: Markdown.
        folder: Where its images are; they are put inside.
    """
    tokens = _HTML.parse(text)
    for image in (part for token in tokens for part in token.children or () if part.type == "image"):
        data = b64encode((folder / str(image.attrs["src"])).read_bytes()).decode()
        image.attrSet("src", f"data:image/png;base64,{data}")
    body = _HTML.renderer.render(tokens, _HTML.options, {})
    return _PAGES.get_template("page.html.jinja").render(title=title, body=body)


def write_both(file: Path, text: str, title: str) -> list[Path]:
    """Write a report as <file>.md and <file>.html.

    Args:
        file: Without an ending, beside its images.
        text: Markdown.
        title: Of the page.

    Returns:
        The two files.
    """
    both = {
        file.with_name(f"{file.name}.md"): text,
        file.with_name(f"{file.name}.html"): page(title, text, file.parent),
    }
    for each, content in both.items():
        each.write_text(content)
    return list(both)
