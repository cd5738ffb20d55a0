"""One look for all figures: panels, colours and legends.

Matplotlib takes a second to import, so that is done when the first figure is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, TypedDict

from mmd_ddm.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DENSITY = 7.8, 160  # inches, so that the letters can be read at 700 pixels; pixels an inch
_STYLE = {
    "font.size": 10, "text.parse_math": False,  # a dollar sign in a name is one
    "axes.titlesize": 10, "figure.titlesize": 11, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.alpha": 0.3, "grid.linewidth": 0.5, "lines.linewidth": 1.5, "errorbar.capsize": 2.5,
    "legend.fontsize": 8.5, "legend.frameon": False, "legend.handlelength": 2.8,
}  # fmt: skip
# told apart with any kind of colour blindness (Okabe and Ito 2008, and two dark ones), the warm ones first
_COLOURS = ("#d55e00", "#e69f00", "#cc79a7", "#0072b2", "#009e73", "#56b4e9", "#661100", "#999933")
_GREYS = ("0.25", "0.6", "#0072b2", "#009e73", "#56b4e9", "#8c6d31")


class Look(TypedDict):
    """Keyword arguments of a line."""

    color: str
    marker: str
    markersize: float
    linestyle: str
    zorder: float


def looks(finetuned: Mapping[str, bool]) -> dict[str, Look]:
    """Look of each model, by whether it is finetuned: then warm and large; base models are grey and dashed."""
    warm, grey = zip(cycle(_COLOURS), cycle("Dos^vPX"), strict=False), zip(cycle(_GREYS), cycle("os^vPX"), strict=False)
    found: dict[str, Look] = {}
    for name, is_finetuned in finetuned.items():
        colour, marker = next(warm if is_finetuned else grey)
        size, line, order = (7, "-", 4) if is_finetuned else (5, "--", 2)
        found[name] = Look(color=colour, marker=marker, markersize=size, linestyle=line, zorder=order)
    return found


@contextmanager
def figure(file: Path, width: float = WIDTH, height: float = 4.0, density: int = DENSITY) -> Iterator[Figure]:
    """An empty figure of some inches, written as PNG in this style when the block ends, whole or not at all."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(_STYLE, after_reset=True):
        made = Figure(figsize=(width, height), dpi=density)
        yield made
        with replacing(file) as half:
            made.savefig(half, format="png")


@contextmanager
def panels(
    file: Path, count: int = 1, *, columns: int = 1, height: float = 4.0
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A `figure` with panels of some inches' height, at most `columns` beside each other.

    Those below each other in a single column share their x axis.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    with figure(file, height=height * rows) as made:
        made.set_layout_engine("constrained")
        found = list(made.subplots(rows, columns, squeeze=False, sharex=columns == 1).flat)
        for spare in found[count:]:
            spare.remove()
        yield made, found[:count]


def legend(made: Figure) -> None:
    """Name what all panels show once, below them, bands last, and make the figure as much higher as that needs."""
    from matplotlib import rcParams
    from matplotlib.patches import Patch

    found = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in made.axes]
    handles = {text: handle for each in found for handle, text in each}
    ordered = sorted(handles, key=lambda text: isinstance(handles[text], Patch))
    size = float(rcParams["legend.fontsize"])
    width, height = made.get_size_inches()
    sample = 6.5 * size / 72  # of a line, with the room around it
    texts = [wrapped(text, width - sample, size) for text in ordered]
    columns = max(1, int(width / (max(text_width(text, size) for text in texts) + sample)))
    drawn = made.legend([handles[text] for text in ordered], texts, loc="outside lower left", ncols=columns)
    made.set_size_inches(width, height + drawn.get_window_extent().height / made.dpi)


def text_width(text: str, points: float) -> float:
    """The inches that the longest line of a text takes in letters of a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=points)
    widths = (text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n"))
    return max(widths) / 72


def wrapped(text: str, width: float, points: float) -> str:
    """A text in lines that are no longer than some inches, if its letters are about as wide everywhere."""
    letters = max(1, int(0.93 * len(text) * width / (text_width(text, points) or 1)))
    return fill(text, letters, break_long_words=False, break_on_hyphens=False)
