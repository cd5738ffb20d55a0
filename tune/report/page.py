"""A report as one HTML file: images inside, nothing from elsewhere, for phones and desks, by day and by night."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from string import Template

from tune.report.blocks import Block, Bullets, Code, Facts, Figure, Heading, Paragraph, Table

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root { --ink: #1c1e21; --soft: #5c6370; --line: #dcdfe4; --paper: #fff; --shade: #f5f6f8; --mark: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e5e8; --soft: #9aa2ad; --line: #363b42; --paper: #16181b; --shade: #1f2226; --mark: #86b7ec; }
  figure img { filter: brightness(.88); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 50rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p, ul, pre, .table, figure { margin: 0 0 1rem; }
ul { padding-left: 1.2rem; }
li { margin-bottom: .35rem; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .86em; }
pre { padding: .8rem .9rem; background: var(--shade); border-radius: .4rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 1px; margin: 1.25rem 0;
  background: var(--line); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
dl div { padding: .7rem .9rem; background: var(--paper); display: flex; flex-direction: column-reverse;
  justify-content: flex-end; }
dt { color: var(--soft); font-size: .84rem; line-height: 1.35; }
dd { margin: 0 0 .15rem; font-size: 1.2rem; font-weight: 600; white-space: nowrap; color: var(--mark);
  font-variant-numeric: tabular-nums; }
.table { overflow-x: auto; }
@media (min-width: 52rem) {
  .wide { width: max-content; min-width: 100%; max-width: min(94vw, 84rem); margin-left: 50%;
    transform: translateX(-50%); }
}
table { border-collapse: collapse; font-size: .86rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child { padding-left: 0; }
.word { text-align: left; }
.long { white-space: normal; min-width: 15rem; }
tr.strong td { font-weight: 600; }
figure { overflow-x: auto; background: #fff; border-radius: .4rem; }
figure img { display: block; width: 100%; min-width: 26rem; height: auto; }
</style>
</head>
<body>
$body
</body>
</html>
""")
WIDE = 5  # columns from which on a table is wider than the text
LONG = 30  # characters of a cell from which on it is broken into lines


def page(title: str, blocks: Iterable[Block]) -> str:
    """Return the blocks as a whole HTML page.

    Args:
        title: Of the window.
        blocks: What it shows; figures are read and put inside.
    """
    return _PAGE.substitute(title=escape(title), body="\n".join(map(_html, blocks)))


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_inline(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{_inline(text)}</p>"
        case Bullets(items):
            return "<ul>\n" + "\n".join(f"<li>{_inline(item)}</li>" for item in items) + "\n</ul>"
        case Facts(items):
            cells = (f"<div><dt>{_inline(what)}</dt><dd>{_inline(number)}</dd></div>" for number, what in items)
            return "<dl>\n" + "\n".join(cells) + "\n</dl>"
        case Table():
            return _table(block)
        case Figure(file, text):
            data = b64encode(file.read_bytes()).decode()
            return f'<figure><img alt="{escape(text)}" src="data:image/png;base64,{data}"></figure>'
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"


def _inline(text: str) -> str:
    """Escaped text with `code` and **strong** words."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def _table(block: Table) -> str:
    words = [name in block.words for name in block.head]
    head = "".join(f"<th{_class(word, '')}>{_inline(name)}</th>" for name, word in zip(block.head, words, strict=True))
    lines = []
    for place, row in enumerate(block.rows):
        cells = (f"<td{_class(word, cell)}>{_inline(cell)}</td>" for cell, word in zip(row, words, strict=True))
        lines.append(f"<tr{' class=strong' if place in block.strong else ''}>{''.join(cells)}</tr>")
    body = "\n".join(lines)
    wide = " wide" if len(block.head) > WIDE else ""
    return f'<div class="table{wide}"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _class(word: bool, cell: str) -> str:
    names = ["word"] * word + ["long"] * (word and len(cell) > LONG)
    return f' class="{" ".join(names)}"' if names else ""
