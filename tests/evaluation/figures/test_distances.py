"""The distributions of distances: every distance is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from matplotlib.axes import Axes

from mmd_ddm.evaluation.figures.distances import save_distances


def test_distances_are_drawn_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}
    draw = Axes.ecdf
    monkeypatch.setattr(
        Axes, "ecdf", lambda panel, x, **how: (drawn.update({how["label"]: x}), draw(panel, x, **how))[1]
    )
    models = {"base model\n5 evaluations": torch.rand(30), "finetuned\n5 evaluations": torch.rand(20)}
    real = torch.rand(40)
    assert save_distances(models, real, "a space", tmp_path / "distances.png").is_file()
    expected = [real, *models.values()]
    assert list(drawn.values()) == [each.tolist() for each in expected]
    assert list(drawn)[1:] == ["base model, 5 evaluations", "finetuned, 5 evaluations"]
