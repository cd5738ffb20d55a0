"""The speed-quality curve: every score is on it, whatever its sign."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from mmd_ddm.evaluation.figures.curve import Point, save_curve


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, for a look at what they hold."""
    figures: list[Figure] = []
    save = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **settings: Any) -> None:
        save(figure, *arguments, **settings)
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def lines(panel: Any) -> dict[str, Any]:
    """Of each label its line and its error bars' ends."""
    return {each.get_label(): each for each in panel.containers}


POINTS = [
    Point("ddim", 20, {"a": (0.01, 0.002), "b": (-0.001, 0.002)}),
    Point("ddim", 5, {"a": (0.2, 0.01), "b": (0.1, 0.01)}),
    Point("dpm", 5, {"b": (0.05, 0.01)}),
    Point("finetuned", 5, {"a": (0.02, 0.002), "b": (0.0, 0.002)}, finetuned=True),
]


def test_all_scores_are_in_sight_in_the_order_of_their_budgets(drawn: list[Figure], tmp_path: Path) -> None:
    floors = {"a": (0.0001, 0.004), "b": (0.0, 0.003)}
    assert save_curve(POINTS, floors, tmp_path / "curve.png") == tmp_path / "curve.png"
    (figure,) = drawn
    assert [panel.get_title() for panel in figure.axes] == ["a features", "b features"]
    assert [panel.get_yscale() for panel in figure.axes] == ["log", "symlog"]  # b has scores that are not above 0
    assert "KID" in figure.axes[0].get_ylabel()
    for space, panel in zip("ab", figure.axes, strict=True):
        found = lines(panel)
        assert set(found) == {point.label for point in POINTS if space in point.scores}
        for label, container in found.items():
            mine = sorted((p for p in POINTS if p.label == label and space in p.scores), key=lambda p: p.evaluations)
            line, _, (bars,) = container
            # labels stand beside each other, less than a third of the way to the next budget of any use
            assert line.get_xdata() == pytest.approx([p.evaluations for p in mine], rel=0.05)
            assert list(line.get_ydata()) == [p.scores[space][0] for p in mine]
            for point, (low, high) in zip(mine, bars.get_segments(), strict=True):
                value, error = point.scores[space]
                assert (low[1], high[1]) == pytest.approx((value - error, value + error))
                bottom, top = panel.get_ylim()
                assert bottom < value < value + error < top
        assert panel.get_ylim()[0] < floors[space][0] + floors[space][1]  # the floor's upper edge
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["5", "20"]


def test_a_label_looks_the_same_in_every_panel_and_finetuned_models_stand_out(
    drawn: list[Figure], tmp_path: Path
) -> None:
    save_curve(POINTS, {}, tmp_path / "curve.png")
    looks: dict[str, set[Any]] = {}
    for panel in drawn[0].axes:
        for label, (line, _, _) in lines(panel).items():
            looks.setdefault(label, set()).add((line.get_color(), line.get_marker(), line.get_markersize()))
    assert all(len(each) == 1 for each in looks.values())
    assert len(set.union(*looks.values())) == 3
    ((_, _, plain),), ((_, _, marked),) = looks["ddim"], looks["finetuned"]
    assert marked > plain
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["ddim", "finetuned", "dpm"]


def test_a_diverged_model_and_near_budgets_spoil_nothing(drawn: list[Figure], tmp_path: Path) -> None:
    points = [Point("ddim", steps, {"a": (1 / steps, math.nan)}) for steps in (10, 11, 12, 13)]
    save_curve([*points, Point("bad", 10, {"a": (math.inf, 1.0)})], {"a": (-0.002, 0.001)}, tmp_path / "curve.png")
    (panel,) = drawn[0].axes
    assert set(lines(panel)) == {"ddim"}
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["10", "12"]  # 11 and 13 are within 16 %
    assert all(map(math.isfinite, panel.get_ylim()))


def test_zeros_alone_are_drawn(drawn: list[Figure], tmp_path: Path) -> None:
    save_curve([Point("exact", 5, {"a": (0.0, 0.0)})], {}, tmp_path / "curve.png")
    low, high = drawn[0].axes[0].get_ylim()
    assert low < 0 < high
