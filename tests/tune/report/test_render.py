import re
from base64 import b64decode
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from tune.report.render import Markdown, Table, bold, code, escape, page, show, write_both

NASTY = "<script>alert(1)</script> | *x* **y** [a](b) `c`"
TEXTS = [
    NASTY,
    "# a",
    "- a",
    "+ a",
    "> a",
    "---",
    "===",
    "1. a",
    "10) a",
    "```",
    "_a_ __b__ ~c~ ~~d~~ e_",
    "a\\|b\\",
    "\\*a",
    "&lt;b&gt; &amp; \"c\" 'd'",
    "![i](http://a.b/c.png)",
    "<http://a.b> x](javascript:alert(1))",
    "[a]: http://b",
    "rational_quadratic, 0.3*median, /a_b/c__d",
    "-0.5 ± 0.1",
    "$a$",
]
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """What a browser would see: all elements, closed in order, each with its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        self.elements.append([tag, ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        for element in self.open:
            element[1] += data

    def texts(self, tag):
        return [text.strip() for name, text in self.elements if name == tag]

    @property
    def tags(self):
        return {name for name, _ in self.elements}


@pytest.mark.parametrize("text", TEXTS)
def test_text_shows_as_itself_wherever_it_stands(tmp_path, text):
    table = show(Table(("", text), ((text, "1"), ("2", text)), ("",), (1,)))
    written = f"# {escape(text)}\n\n{escape(text)}\n\n* {escape(text)}\n* b {bold(text)}\n\n{table}\n"
    elsewhere = MarkdownIt("gfm-like", {"linkify": False, "html": True})  # as other programs may read report.md
    for read in (Reader(page(text, written, tmp_path)), Reader(elsewhere.render(written))):
        assert read.texts("h1") == [text]
        assert text in read.texts("p")
        assert read.texts("li") == [text, f"b {text}"]
        assert read.texts("th") == ["", text]
        assert read.texts("td") == [text, "1", "2", text]
        assert read.texts("strong") == [text, "2", text]
        body = {"h1", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "strong"}
        assert read.tags <= body | {"html", "head", "meta", "title", "style", "body"}


def test_a_fence_is_longer_than_any_in_it(tmp_path):
    text = "a '\n````\n# b\n```\n' <i>"
    read = Reader(page("t", code(text, "sh"), tmp_path))
    assert read.texts("code") == [text]
    assert not {"h1", "i"} & read.tags


def test_values_are_written_as_people_read_them():
    assert [escape(value) for value in (None, 1 / 30000, 5, " a\n b ", "")] == ["none", "3.33333e-05", "5", "a b", ""]
    assert escape(Markdown("**a**")) == "**a**"
    assert (bold("a*"), bold("")) == ("**a\\***", "")


def test_a_table_has_words_to_the_left_numbers_to_the_right_and_rows_that_stand_out(tmp_path):
    table = Table(("name", "value"), (("a|b", 1), ("c", ""), ("d", 2.5)), ("name",), (1, 2))
    text = show(table)
    assert text.splitlines() == [
        "| name | value |",
        "|---|--:|",
        "| a\\|b | 1 |",
        "| **c** |  |",
        "| **d** | **2.5** |",
    ]
    assert re.findall(r"<td[^>]*>", page("t", text, tmp_path)) == ["<td>", '<td style="text-align:right">'] * 3


def test_the_page_is_whole_and_needs_nothing_else(tmp_path):
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    markdown, html = write_both(tmp_path / "report", "* **1** fact\n\n![words](a.png)\n", NASTY)
    assert (markdown.name, html.name) == ("report.md", "report.html")
    assert "![words](a.png)" in markdown.read_text()
    text = html.read_text()
    read = Reader(text)
    assert read.texts("title") == [NASTY]
    links = [value for name, value in read.attributes if name in ("src", "href")]
    assert [link.partition(",")[0] for link in links] == ["data:image/png;base64"]
    assert b64decode(links[0].partition(",")[2]) == (tmp_path / "a.png").read_bytes()
    assert ("alt", "words") in read.attributes
    assert not re.search(r"https?://|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
