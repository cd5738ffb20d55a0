"""The figure of speed against quality: scores over the number of network evaluations an image."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

_PLAIN = (("0.25", "o"), ("#0072b2", "s"), ("#009e73", "^"), ("#56b4e9", "v"), ("#7f7f7f", "P"), ("#8c6d31", "X"))
_FINETUNED = ("#d55e00", "#cc79a7", "#e69f00", "#b22222")
_NEAR = 1.16  # budgets of a smaller ratio share a label on the axis
_WIDTH = 4.8  # inches of a panel
_SPREAD = 1.035  # of the labels beside each other at one budget, to both sides
_FLOOR = "real images"


class Point(NamedTuple):
    """One model or sampler at one budget."""

    label: str  # points of one label are joined
    evaluations: int  # network evaluations an image
    scores: Mapping[str, tuple[float, float]]  # value and standard error, by feature space
    finetuned: bool = False


def save_curve(
    points: Sequence[Point], floors: Mapping[str, tuple[float, float]], file: Path, measure: str = "KID"
) -> Path:
    """Draw scores over network evaluations, a panel for each feature space and a line for each label.

    Both axes are logarithmic; where a score is not above zero, its axis is linear around zero, up to the median
    standard error in that space, and logarithmic beyond.

    Args:
        points: at least one; not every one needs a score in every space.
        floors: mean and standard deviation of the score between real images, by feature space; drawn as a band of
            one standard deviation to both sides.
        file: PNG.
        measure: what the scores are called.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spaces = list(dict.fromkeys(space for point in points for space in point.scores))
    labels = list(dict.fromkeys(point.label for point in points))
    looks = _looks(labels, {point.label for point in points if point.finetuned})
    across = max(1, len(spaces)) * _WIDTH
    beside = max(1, int(across / (0.6 + 0.085 * max(len(label) for label in [*labels, _FLOOR]))))  # in the legend
    figure = Figure(figsize=(across, 3.9 + 0.24 * -(-(len(labels) + 1) // beside)), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, space in zip(figure.subplots(1, max(1, len(spaces)), squeeze=False)[0], spaces, strict=False):
        _draw_panel(panel, _of(points, space), floors.get(space), looks)
        panel.set_title(f"{space} features", fontsize=10)
        panel.set_xlabel("network evaluations an image")
    figure.axes[0].set_ylabel(f"{measure} (less is better)")
    found = [zip(*panel.get_legend_handles_labels(), strict=True) for panel in figure.axes]
    handles = {text: handle for each in found for handle, text in each}
    handles |= {_FLOOR: handles.pop(_FLOOR)} if _FLOOR in handles else {}  # the last
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", fontsize=9, frameon=False, ncols=beside)
    figure.savefig(file, dpi=200)
    return file


class _Score(NamedTuple):
    evaluations: int
    value: float
    error: float


def _of(points: Sequence[Point], space: str) -> dict[str, list[_Score]]:
    """The scores in a space by label, each label's in the order of their budgets; those of diverged models left out."""
    found: dict[str, list[_Score]] = {}
    for point in sorted(points, key=lambda point: point.evaluations):
        value, error = point.scores.get(space, (math.nan, math.nan))
        if math.isfinite(value):
            score = _Score(point.evaluations, value, error if math.isfinite(error) else 0.0)
            found.setdefault(point.label, []).append(score)
    return found


def _draw_panel(
    panel: Any,
    lines: Mapping[str, Sequence[_Score]],
    floor: tuple[float, float] | None,
    looks: Mapping[str, dict[str, Any]],
) -> None:
    for number, label in enumerate(looks):
        shift = _SPREAD ** ((2 * number - len(looks) + 1) / max(1, len(looks) - 1))
        if label in lines:
            panel.errorbar(
                [score.evaluations * shift for score in lines[label]],
                [score.value for score in lines[label]],
                [score.error for score in lines[label]],
                label=label, capsize=2.5, elinewidth=1, **looks[label],
            )  # fmt: skip
    if floor is not None:
        panel.axhspan(floor[0] - floor[1], floor[0] + floor[1], color="0.85", zorder=0, label=_FLOOR)
    scores = [score for line in lines.values() for score in line]
    if scores:
        _scale(panel, scores, floor)
        _budgets(panel, sorted({score.evaluations for score in scores}))
    panel.grid(alpha=0.3, linewidth=0.5)
    panel.spines[["top", "right"]].set_visible(False)


def _budgets(panel: Any, budgets: Sequence[int]) -> None:
    """Name the budgets on the horizontal axis, as many as have room."""
    named: list[int] = []
    for budget in budgets:
        if not named or budget > _NEAR * named[-1]:
            named.append(budget)
    panel.set_xscale("log")
    panel.set_xticks(named, [str(budget) for budget in named])
    panel.set_xticks([], minor=True)
    panel.set_xlim(budgets[0] / 1.25, budgets[-1] * 1.25)


def _looks(labels: Sequence[str], marked: Collection[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each label, the same in every panel: finetuned models large and warm, before the others."""
    found: dict[str, dict[str, Any]] = {}
    for label in labels:
        if label in marked:
            colour = _FINETUNED[sum(each in marked for each in found) % len(_FINETUNED)]
            shape = {"marker": "D", "markersize": 8, "markeredgecolor": "black", "linewidth": 1.2, "zorder": 4}
            found[label] = {"color": colour, "linestyle": ":", **shape}
        else:
            colour, marker = _PLAIN[sum(each not in marked for each in found) % len(_PLAIN)]
            found[label] = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.5}
    return found


def _scale(panel: Any, scores: Sequence[_Score], floor: tuple[float, float] | None) -> None:
    """Choose the vertical axis for values and their errors."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, SymmetricalLogLocator

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    values = [score.value for score in scores]
    tops = [score.value + score.error for score in scores]
    band = (floor[0] - floor[1], floor[0] + floor[1]) if floor is not None else (values[0], values[0])
    if min(values) > 0:
        # the floor may be zero or below; its upper edge is in sight, unless it is far away
        bottom = min(*values, max(band[1], min(values) / 30)) / 1.6
        panel.set_yscale("log", nonpositive="clip")
        panel.set_ylim(bottom, 1.6 * max(*tops, band[1]))
        few = max(tops) < 300 * bottom
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
        panel.yaxis.set_major_formatter(plain)
        panel.yaxis.set_minor_formatter(NullFormatter())
        return
    # below its own error a score is not told from zero, so there is nothing to enlarge there
    linear = median(score.error for score in scores) or max(abs(value) for value in values) / 100 or 1.0
    low, high = min(band[0], *(score.value - score.error for score in scores)), max(band[1], *tops)
    panel.set_yscale("symlog", linthresh=linear)
    panel.set_ylim(1.6 * min(low, -linear / 2), 1.6 * max(high, linear))
    few = max(high, -low) < 300 * linear
    panel.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=linear, subs=(1, 2, 5) if few else (1,)))
    panel.yaxis.set_major_formatter(plain)
    panel.axhline(0, color="0.6", linewidth=0.8, zorder=1)
    panel.text(
        0.99, 0.01, f"linear within ± {linear:.1g}", transform=panel.transAxes, ha="right", va="bottom", fontsize=7,
        color="0.35",
    )  # fmt: skip
