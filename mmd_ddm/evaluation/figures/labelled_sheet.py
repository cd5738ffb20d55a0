"""Rows of images with labels, headings and captions, at twice the density of a screen.

Images are enlarged by whole factors and nothing is drawn over them, so every tile can be read back to the bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.sheets import enlarged

DENSITY = 192  # pixels an inch, twice that of a screen
SIDE = 96  # pixels that a tile has at least
GAP, WIDE, MARGIN = 12, 36, 24  # pixels between tiles, between groups of tiles, around everything
TITLE, TEXT, SMALL = 11, 9, 7.5  # points of the letters
INK, FAINT, MARK = "#1a1a1a", "#5a5a5a", (200, 16, 46)


@dataclass(frozen=True)
class Line:
    """A row of a sheet."""

    label: str  # to the left of it, of one or more lines
    images: Tensor  # (N, C, H, W) in [-1, 1]
    captions: Sequence[str] = ()  # below the images; an empty one for none
    framed: Collection[int] = ()  # columns whose images are marked
    apart: bool = False  # whether more room separates it from the row above


@dataclass(frozen=True)
class LabelledSheet:
    """Rows of images of one width."""

    title: str
    lines: Sequence[Line]
    headings: Sequence[Mapping[tuple[int, int], str]] = ()  # lines of text above columns, by the first and the last
    breaks: Collection[int] = ()  # columns that more room separates from the one before
    note: str = ""  # below everything, in smaller letters

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a tile, in pixels of the sheet, for `Image.crop`."""
        left, top = self._left(column), self._top(row)
        height, width = self.lines[row].images.shape[-2:]
        return left, top, left + width * self.factor, top + height * self.factor

    @cached_property
    def factor(self) -> int:
        """How many times each pixel of an image is repeated in both directions."""
        return enlarged(self.lines[0].images[:1], SIDE)[1]

    def save(self, path: Path) -> Path:
        """Write the sheet as PNG on white, complete or not at all."""
        title, note = self._wrapped(self.title, TITLE), self._wrapped(self.note, SMALL)
        below = self._top(len(self.lines)) + MARGIN // 2
        width, height = self._width, below + self._height(note, SMALL) + MARGIN // 2
        pixels = np.full((height, width, 3), 255, np.uint8)
        with style.figure(path, width / DENSITY, height / DENSITY, DENSITY) as figure:

            def put(x: float, y: float, text: str, points: float, across: str = "left", up: str = "top") -> None:
                colour = FAINT if points == SMALL else INK
                figure.text(x / width, 1 - y / height, text, size=points * self._scale, color=colour, ha=across, va=up)

            put(MARGIN, MARGIN, title, TITLE)
            for level, heading in enumerate(reversed(self.headings), 1):
                for (first, last), text in heading.items():
                    middle = (self._left(first) + self.box(0, last)[2]) / 2
                    put(middle, self._top(0) - level * self._height(text, TEXT), text, TEXT, "center")
            for row, line in enumerate(self.lines):
                for column, tile in enumerate(enlarged(line.images, SIDE)[0]):
                    left, top, right, bottom = self.box(row, column)
                    if column in line.framed:
                        pixels[top - 4 : bottom + 4, left - 4 : right + 4] = MARK
                        pixels[top - 1 : bottom + 1, left - 1 : right + 1] = 255
                    pixels[top:bottom, left:right] = tile.permute(1, 2, 0).numpy()
                    if column < len(line.captions):
                        put((left + right) / 2, bottom + 6, line.captions[column], SMALL, "center")
                put(MARGIN, (self.box(row, 0)[1] + self.box(row, 0)[3]) / 2, line.label, TEXT, up="center")
            put(MARGIN, below, note, SMALL)
            figure.figimage(pixels)
        return path

    def _left(self, column: int) -> int:
        labels = max(style.text_width(line.label, TEXT * self._scale) for line in self.lines)
        start = MARGIN + (round(labels * DENSITY) + MARGIN if labels else 0)
        return start + column * (self._wide + GAP) + (WIDE - GAP) * sum(each <= column for each in self.breaks)

    def _top(self, row: int) -> int:
        """Of a row, or of what comes below them all."""
        start = MARGIN + (self._height(self._wrapped(self.title, TITLE), TITLE) + GAP if self.title else 0)
        start += len(self.headings) * self._height("", TEXT)
        gaps = sum(WIDE if line.apart else GAP for line in self.lines[1 : row + 1])
        captions = sum(self._height("", SMALL) for line in self.lines[:row] if line.captions)
        return start + gaps + captions + sum(line.images.shape[-2] * self.factor for line in self.lines[:row])

    @cached_property
    def _width(self) -> int:
        return self._left(max(len(line.images) for line in self.lines)) - GAP + MARGIN

    def _wrapped(self, text: str, points: float) -> str:
        return style.wrapped(text, (self._width - 2 * MARGIN) / DENSITY, points * self._scale)

    def _height(self, text: str, points: float) -> int:
        """Pixels of the lines of a text."""
        return round((1 + text.count("\n")) * 1.35 * points * self._scale / 72 * DENSITY)

    @cached_property
    def _scale(self) -> float:
        """How much larger the letters of a wide sheet are, so that they can be read where it is shown smaller."""
        return max(1.0, max(len(line.images) for line in self.lines) * self._wide / 1000)

    @cached_property
    def _wide(self) -> int:
        return self.lines[0].images.shape[-1] * self.factor
