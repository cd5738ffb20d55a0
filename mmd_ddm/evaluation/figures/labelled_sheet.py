"""Rows of images with labels, headings and captions, at twice the density of a screen.

Images are enlarged by whole factors and nothing is drawn over them, so every tile can be read back to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mmd_ddm.evaluation.figures.sheets import enlarged, save_png

DENSITY = 192  # pixels an inch, twice that of a screen
SIDE = 96  # pixels that a tile has at least
GAP, WIDE, MARGIN = 12, 36, 24  # between tiles, between groups of tiles, around everything
TITLE, TEXT, SMALL = 30, 24, 20  # pixels of the letters
INK, FAINT, MARK = "#1a1a1a", "#5a5a5a", "#c8102e"
Span = tuple[int, int]  # first and last column


@dataclass(frozen=True)
class Line:
    """A row of a sheet.

    Args:
        label: to the left of it, of one or more lines.
        images: (N, C, H, W) in [-1, 1].
        captions: below the images; an empty one for none.
        framed: columns whose images are marked.
        apart: whether more room separates it from the row above.
    """

    label: str
    images: Tensor
    captions: Sequence[str] = ()
    framed: Collection[int] = ()
    apart: bool = False


@dataclass(frozen=True)
class LabelledSheet:
    """Rows of images of one shape.

    Args:
        title: above everything.
        lines: the rows, from the top.
        headings: lines of text above the columns, each over a span of them.
        breaks: columns that more room separates from the one before.
        note: below everything, in smaller letters.
    """

    title: str
    lines: Sequence[Line]
    headings: Sequence[Mapping[Span, str]] = ()
    breaks: Collection[int] = ()
    note: str = ""

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a tile, in pixels of the sheet, for `Image.crop`."""
        left, top = self._lefts[column], self._tops[row]
        return left, top, left + self._tile[0], top + self._tile[1]

    @cached_property
    def factor(self) -> int:
        """How many times each pixel of an image is repeated in both directions."""
        return enlarged(self.lines[0].images[:1], SIDE)[1]

    def draw(self) -> Image.Image:
        """The sheet, on white."""
        sheet = Image.new("RGB", (self._width, self._height), "white")
        pen = ImageDraw.Draw(sheet)
        pen.multiline_text((MARGIN, MARGIN), self._title, INK, _font(TITLE), spacing=_SPACING)
        top = self._below_title
        for heading in self.headings:
            for (first, last), text in heading.items():
                middle = (self._lefts[first] + self._lefts[last] + self._tile[0]) / 2
                pen.text((middle, top), text, INK, _font(TEXT), anchor="ma")
            top += _height(TEXT)
        for row, line in enumerate(self.lines):
            self._draw_line(sheet, pen, row, line)
        place = (MARGIN, self._tops[-1])  # below the last row
        pen.multiline_text(place, self._note, FAINT, _font(SMALL), spacing=_SPACING)
        return sheet

    def save(self, path: Path) -> Path:
        """Write the sheet as PNG, complete or not at all."""
        return save_png(self.draw(), path, DENSITY)

    def _draw_line(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, row: int, line: Line) -> None:
        middle = self._tops[row] + self._tile[1] / 2
        pen.multiline_text((MARGIN, middle), line.label, INK, _font(TEXT), anchor="lm", spacing=_SPACING)
        pixels, _ = enlarged(line.images, SIDE)
        for column, tile in enumerate(pixels):
            left, top, right, bottom = self.box(row, column)
            sheet.paste(Image.fromarray(tile.permute(1, 2, 0).numpy()), (left, top))
            if column in line.framed:
                pen.rectangle((left - 4, top - 4, right + 3, bottom + 3), outline=MARK, width=3)
            if column < len(line.captions):
                place = ((left + right) / 2, bottom + 4)
                pen.text(place, line.captions[column], FAINT, _font(SMALL), anchor="ma")

    @cached_property
    def _tile(self) -> tuple[int, int]:
        height, width = self.lines[0].images.shape[-2:]
        return width * self.factor, height * self.factor

    @cached_property
    def _lefts(self) -> list[int]:
        """Of the columns, and where one more would begin."""
        labels = max(_length(text, TEXT) for line in self.lines for text in line.label.split("\n"))
        lefts = [MARGIN + labels + (MARGIN if labels else 0)]
        for column in range(1, 1 + max(len(line.images) for line in self.lines)):
            lefts.append(lefts[-1] + self._tile[0] + (WIDE if column in self.breaks else GAP))
        return lefts

    @cached_property
    def _tops(self) -> list[int]:
        """Of the rows, and of what comes below them."""
        tops: list[int] = []
        top = self._below_title + len(self.headings) * _height(TEXT)
        for line in self.lines:
            top += WIDE if line.apart else GAP if tops else 0
            tops.append(top)
            top += self._tile[1] + (_height(SMALL) if line.captions else 0)
        return [*tops, top + MARGIN // 2]

    @cached_property
    def _width(self) -> int:
        return self._lefts[-1] - GAP + MARGIN

    @cached_property
    def _title(self) -> str:
        return _wrapped(self.title, TITLE, self._width - 2 * MARGIN)

    @cached_property
    def _note(self) -> str:
        return _wrapped(self.note, SMALL, self._width - 2 * MARGIN)

    @cached_property
    def _below_title(self) -> int:
        return MARGIN + (1 + self._title.count("\n")) * _height(TITLE) + GAP

    @cached_property
    def _height(self) -> int:
        lines = 1 + self._note.count("\n") if self.note else 0
        return self._tops[-1] + lines * _height(SMALL) + MARGIN // 2


_SPACING = 6  # between lines of text


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    # of a package that is there anyway, so that a sheet looks alike on every machine
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def _length(text: str, size: int) -> int:
    return -int(-_font(size).getlength(text) // 1)


def _height(size: int) -> int:
    return sum(_font(size).getmetrics()) + _SPACING


def _wrapped(text: str, size: int, width: int) -> str:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _length(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)
