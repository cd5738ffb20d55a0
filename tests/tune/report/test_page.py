import re
from base64 import b64decode
from html.parser import HTMLParser

from PIL import Image

from tune.report.blocks import Bullets, Code, Facts, Figure, Heading, Paragraph, Table, markdown
from tune.report.page import page

NASTY = "<script>alert('x')</script> & \"quoted\""
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """What a browser would see, and whether every element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], "", []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def blocks(folder):
    Image.new("RGB", (4, 4), "red").save(folder / "a.png")
    return [
        Heading(NASTY, 1),
        Facts((("93 %", NASTY),)),
        Paragraph(f"**{NASTY}** and `{NASTY}`"),
        Bullets((NASTY, "two")),
        Table(("", NASTY), (("a|b", NASTY), ("c", "2")), ("",), (1,)),
        Figure(folder / "a.png", NASTY),
        Code(NASTY),
    ]


def test_the_page_is_whole_escaped_and_needs_nothing_else(tmp_path):
    text = page(NASTY, blocks(tmp_path))
    read = Reader(text)
    assert "script" not in read.tags
    assert read.text.count(NASTY) == 9  # title, heading, fact, strong, code, item, column, cell, pre
    assert {"h1", "dl", "strong", "code", "table", "pre", "figure"} <= set(read.tags)
    links = [value for name, value in read.attributes if name in ("src", "href")]
    assert all(value.startswith("data:image/png;base64,") for value in links)
    assert b64decode(links[0].partition(",")[2]) == (tmp_path / "a.png").read_bytes()
    assert not re.search(r"https?://|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_a_strong_row_and_numbers_to_the_right():
    text = page("t", [Table(("name", "value"), (("a", "1"), ("b", "2")), ("name",), (1,))])
    assert '<tr class=strong><td class="word">b</td><td>2</td></tr>' in text
    assert '<tr><td class="word">a</td><td>1</td></tr>' in text


def test_markdown_says_the_same(tmp_path):
    text = markdown(blocks(tmp_path))
    assert text.startswith(f"# {NASTY}\n")
    assert "| a\\|b |" in text
    assert "| **c** | **2** |" in text
    assert f"![{NASTY}](a.png)" in text
