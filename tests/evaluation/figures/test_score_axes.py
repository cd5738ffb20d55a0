"""Axes of scores: the scale that fits, with every score and its error in sight, and budgets that have room."""

from __future__ import annotations

import math

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmd_ddm.evaluation.figures import style
from mmd_ddm.evaluation.figures.score_axes import draw_scores, score_axis


def panel() -> Axes:
    return Figure().subplots()


@pytest.mark.parametrize(
    ("values", "errors", "scale"),
    [
        ([0.2, 0.01], [0.01, 0.002], "log"),
        ([0.5, 0.2, 0.3], [0.01] * 3, "linear"),  # less than a factor of three
        ([0.5, 0.1], [], "log"),
        ([0.5, 0.01], [0.02, 0.02], "symlog"),  # not told from zero
        ([0.5, -0.01], [0.001, 0.001], "symlog"),
        ([-3.0, -2.0], [], "symlog"),
        ([1.0, 1.0], [], "linear"),
        ([0.0], [0.0], "symlog"),
        ([1e-6, 50.0], [1e-7, 1e-6], "log"),
        ([-1e-6, 50.0], [1e-7, 1e-7], "symlog"),
    ],
)
def test_the_scale_follows_from_values_and_errors(values: list[float], errors: list[float], scale: str) -> None:
    drawn = panel()
    score_axis(drawn, "KID", values, errors)
    assert drawn.get_yscale() == scale
    bottom, top = drawn.get_ylim()
    ticks = [tick for tick in drawn.get_yticks() if bottom <= tick <= top]
    assert 2 <= len(ticks) <= 20
    for i, value in enumerate(values):
        error = errors[i] if errors else 0.0
        assert bottom < value < top
        assert value + error < top
        assert bottom < value - error or scale == "log"


def test_a_logarithmic_axis_is_not_spoilt_by_what_is_far_below() -> None:
    drawn = panel()
    score_axis(drawn, "KID", [0.1, 0.9], [0.0999, 0.01], seen=[1e-5, 0.02])
    assert 0.01 < drawn.get_ylim()[0] < 0.02  # 1e-5 is out of sight, and so is the bar's end at 0.0001


def test_the_linear_part_is_about_the_median_error() -> None:
    drawn = panel()
    score_axis(drawn, "KID", [0.5, -0.01, 0.3], [0.004, 0.0008, 0.02])
    transform = drawn.yaxis.get_transform()
    assert 0.004 / math.sqrt(10) <= transform.linthresh <= 0.004 * math.sqrt(10)  # a power of ten


@pytest.mark.parametrize("beside", [True, False])
def test_lines_stand_beside_each_other_and_never_reach_the_next_budget(beside: bool) -> None:
    drawn = panel()
    lines = {str(i): [(10, 0.1, 0.01), (12, 0.2, 0.01), (5, math.nan, 0.1), (20, 0.3, math.nan)] for i in range(9)}
    draw_scores(drawn, "KID", lines, style.looks(dict.fromkeys(lines, True)), hollow=["3"], beside=beside)
    places = [container[0].get_xdata() for container in drawn.containers]
    for column, budget in enumerate((10, 12, 20)):
        here = [float(line[column]) for line in places]
        assert math.prod(here) ** (1 / 9) == pytest.approx(budget)
        assert len(set(here)) == (9 if beside else 1)
    assert max(line[0] for line in places) < min(line[1] for line in places)
    faces = [container[0].get_markerfacecolor() for container in drawn.containers]
    assert [i for i, face in enumerate(faces) if face == "white"] == [3]
    assert drawn.get_xlabel() == "network evaluations (NFE)"
