"""What all figures share: colours that everybody tells apart, legends that fit, files that are whole."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mmd_ddm.evaluation.figures import style

# linear RGB as the colour-blind see it (Machado, Oliveira and Fernandes 2009, severity 1)
SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(colour: str, seen: object) -> np.ndarray:
    """CIELAB coordinates, in which a distance of 2 is just seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = np.cbrt(np.maximum(0.0089, np.array(TO_XYZ) @ np.clip(np.array(seen) @ linear, 0, 1) / (0.95, 1, 1.09)))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("finetuned", [True, False])
def test_the_colour_blind_tell_models_apart(seen: str, finetuned: bool) -> None:
    looks = style.looks({str(i): finetuned for i in range(8 if finetuned else 6)}).values()
    for one, other in combinations(looks, 2):
        assert np.linalg.norm(lab(one["color"], SEEN[seen]) - lab(other["color"], SEEN[seen])) > 10


def test_56_finetuned_models_look_differently_and_unlike_base_models() -> None:
    looks = style.looks({f"{kind}{i}": kind == "finetuned" for i in range(56) for kind in ("base", "finetuned")})
    warm = {(look["color"], look["marker"]) for name, look in looks.items() if name.startswith("finetuned")}
    assert len(warm) == 56
    grey = [look for name, look in looks.items() if name.startswith("base")]
    assert {look["linestyle"] for look in grey} == {"--"}
    assert max(look["markersize"] for look in grey) < min(looks[f"finetuned{i}"]["markersize"] for i in range(56))


@pytest.mark.parametrize("words", [1, 25])
def test_a_legend_is_in_the_figure_and_the_panel_keeps_its_room(words: int, tmp_path: Path) -> None:
    heights = {}
    for count in (1, 30):
        with style.panels(tmp_path / "a.png") as (made, (panel,)):
            for i in range(count):
                panel.plot([0, 1], label=f"{i} " + "learning_rate=0.00045, " * words)
            style.legend(made)
        drawn = made.legends[0].get_window_extent()
        assert 0 <= drawn.x0 < drawn.x1 <= made.bbox.width
        assert 0 <= drawn.y0 < drawn.y1 < panel.get_window_extent().y0
        heights[count] = panel.get_window_extent().height
    assert heights[30] == pytest.approx(heights[1], rel=0.02)


def test_nothing_is_left_of_a_figure_that_could_not_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    with style.figure(file):
        pass
    before = file.read_bytes()

    def half(made: Figure, where: Path, **how: object) -> None:
        where.write_bytes(before[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", half)
    with pytest.raises(OSError, match="space"), style.figure(file, 2, 2):
        pass
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_figure_does_not_change_what_others_draw(tmp_path: Path) -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    with style.figure(tmp_path / "a.png"):
        assert rcParams["axes.grid"]
    assert dict(rcParams) == before


@pytest.mark.parametrize("width", [0.5, 1.5, 3.0, 7.0])
def test_wrapped_lines_fit_and_lose_no_word(width: float) -> None:
    text = "features=contrastive, kernel=rational_quadratic, learning_rate=0.0002, schedule=linear, " * 3
    lines = style.wrapped(text, width, 9)
    assert lines.split() == text.split()
    assert all(style.text_width(line, 9) <= width for line in lines.split("\n") if " " in line)
