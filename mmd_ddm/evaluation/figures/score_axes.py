"""Panels of scores: over network evaluations (NFE), or with another horizontal axis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest
from statistics import median
from typing import TYPE_CHECKING

from mmd_ddm.evaluation.figures.style import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NEAR = 1.16  # budgets of a smaller ratio share a label on the axis


def draw_scores(
    panel: Axes,
    name: str,
    lines: Mapping[str, Iterable[tuple[int, float, float]]],
    looks: Mapping[str, Look],
    *,
    hollow: Collection[str] = (),
    beside: bool = True,
    seen: Sequence[float] = (),
) -> None:
    """Draw scores over network evaluations; those that are not finite, of a diverged model, are left out.

    The points of a line, given by its label, are (network evaluations, score, error). `looks` has those too that other
    panels alone draw; the markers of `hollow` lines are not filled; `beside` sets points of several lines at one budget
    beside each other; `seen` are further scores to keep in sight.
    """
    finite = {
        label: sorted((nfe, score, error if math.isfinite(error) else 0.0) for nfe, score, error in lines[label]
                      if math.isfinite(score)) for label in looks if label in lines
    }  # fmt: skip
    points = [point for line in finite.values() for point in line]
    if not points:
        return
    factors = _nfe_axis(panel, [nfe for nfe, _, _ in points], len(looks))
    for (label, look), factor in zip(looks.items(), factors, strict=True):
        if finite.get(label):
            budgets, scores, errors = zip(*finite[label], strict=True)
            places = [budget * factor if beside else budget for budget in budgets]
            face = "white" if label in hollow else look["color"]
            panel.errorbar(places, scores, errors, label=label, elinewidth=1, markerfacecolor=face, **look)
    score_axis(panel, name, [score for _, score, _ in points], [error for _, _, error in points], seen)


def score_axis(
    panel: Axes, name: str, values: Sequence[float], errors: Sequence[float] = (), seen: Sequence[float] = ()
) -> None:
    """Make the vertical axis one of scores: linear, logarithmic, or logarithmic but for a linear part around zero.

    Scores that reach down to their median standard error are not told from zero, so that nothing is enlarged there;
    scores above are drawn on a logarithmic axis unless they differ by less than a factor of three. The errors are of
    the first values; `seen` are further ones to keep in sight, on a logarithmic axis those not far below the others.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, SymmetricalLogLocator

    low, high, error = min(values), max(values), median(errors) if errors else 0.0
    bars = list(zip_longest(values, errors, fillvalue=0.0))
    ends = [value + sign * error for value, error in bars for sign in (-1, 1)]
    if low > error:
        unit = low
        ends = [max(end, low / 3) for end in ends]  # longer bars run off
        ends += [value for value in seen if value > low / 30]
    else:
        unit = 10.0 ** round(math.log10(error or max(high, -low) / 100 or 1.0))
        ends += [*seen, -unit / 2, unit]
    subs = (1, 2, 5) if max(map(abs, ends)) < 300 * unit else (1,)
    if low <= error:
        panel.set_yscale("symlog", linthresh=unit, linscale=0.5)
        panel.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=unit, subs=subs))
        panel.axhline(0, color="0.6", linewidth=0.8, zorder=1)
        panel.text(1, 1, f"linear within ± {unit:g}", transform=panel.transAxes, ha="right", va="top", size=7)
    elif high > 3 * low:
        panel.set_yscale("log", nonpositive="clip")
        panel.yaxis.set_major_locator(LogLocator(subs=subs))
    panel.set_ylabel(name)
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
    transform = panel.yaxis.get_transform()
    bottom, top = transform.transform([min(ends), max(ends)])
    margin = 0.07 * (top - bottom) or 0.5
    panel.set_ylim(*transform.inverted().transform([bottom - margin, top + margin]))


def _nfe_axis(panel: Axes, budgets: Sequence[int], beside: int) -> list[float]:
    """Name the budgets that have room; return the factors that set as many points of one budget beside each other."""
    named: list[int] = []
    for budget in sorted(budgets):
        if not named or budget > _NEAR * named[-1]:
            named.append(budget)
    panel.set_xscale("log")
    panel.set_xticks(named, [str(budget) for budget in named])
    panel.set_xticks([], minor=True)
    panel.set_xlim(min(budgets) / 1.25, max(budgets) * 1.25)
    panel.set_xlabel("network evaluations (NFE)")
    room = min((math.log(larger / smaller) for smaller, larger in pairwise(named)), default=1.0)
    step = min(0.03, 0.3 * room / max(1, beside - 1))
    return [math.exp(step * (place - (beside - 1) / 2)) for place in range(beside)]
