"""What is where in the figures of images."""

from __future__ import annotations

import pytest
import torch

from mmd_ddm.evaluation.figures.image_figures import (
    Series,
    columns,
    interpolated,
    interpolation_sheet,
    neighbours_sheet,
    samples_sheet,
)
from mmd_ddm.evaluation.measures.neighbours import Neighbours


def test_one_noise_is_one_column() -> None:
    models = [Series("base", torch.randn(5, 1, 4, 4)), Series("finetuned", torch.randn(5, 1, 4, 4))]
    real = Series("real", torch.randn(5, 1, 4, 4))
    sheet = samples_sheet("", models, real)
    assert [line.label for line in sheet.lines] == ["base", "finetuned", "real"]
    for line, series in zip(sheet.lines, [*models, real], strict=True):
        assert torch.equal(line.images, series.images)
    for column in range(5):
        assert len({sheet.box(row, column)[0] for row in range(3)}) == 1


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 8, 8), 15), ((3, 32, 32), 15), ((3, 64, 64), 12), ((3, 256, 256), 8)]
)
def test_a_sheet_of_samples_is_neither_too_wide_nor_too_narrow(shape: tuple[int, int, int], count: int) -> None:
    """Tiles of 96, 96, 128 and 256 pixels, 12 apart, on 1700 pixels: 15.7, 15.7, 12.1, and 6.3, which are too few."""
    assert columns(shape) == count


def test_neighbours_stand_beside_their_image_with_their_distances() -> None:
    count, k = 3, 2
    models = [Series("base\n5", torch.randn(count, 1, 4, 4)), Series("finetuned\n5", torch.randn(count, 1, 4, 4))]
    found = [Neighbours(torch.zeros(count, k, dtype=torch.int64), 5 * torch.rand(count, k) + 1) for _ in models]
    near = [torch.randn(count, k, 1, 4, 4) for _ in models]
    sheet = neighbours_sheet("", models, found, near, "")
    for i, line in enumerate(sheet.lines):
        for first, model, each, real in zip((0, 3), models, found, near, strict=True):
            assert torch.equal(line.images[first], model.images[i])
            assert first in line.framed
            assert line.captions[first] == ""
            assert torch.equal(line.images[first + 1 : first + 3], real[i])
            written = [float(text) for text in line.captions[first + 1 : first + 3]]
            assert written == pytest.approx(each.distances[i].tolist(), abs=0.005)  # three digits of the longest
    assert len(sheet.lines) == count


def test_interpolation_ends_at_the_noises_and_keeps_their_distribution() -> None:
    noise = torch.randn(3, 4, 2, 16, 16, dtype=torch.float64)  # draws, two pairs
    fractions = [0.0, 0.25, 0.5, 1.0]
    path = interpolated(noise, fractions)
    assert path.shape == (3, 8, 2, 16, 16)
    by_pair = path.unflatten(1, (2, 4))
    assert torch.equal(by_pair[:, :, 0], noise[:, 0::2])
    assert torch.equal(by_pair[:, :, -1], noise[:, 1::2])
    for draw in range(3):
        for pair in range(2):
            a, b = noise[draw, 2 * pair].flatten(), noise[draw, 2 * pair + 1].flatten()
            angle = torch.arccos(a @ b / (a.norm() * b.norm()))
            for i, f in enumerate(fractions):  # Equation 8
                expected = (
                    torch.sin((1 - f) * angle) / torch.sin(angle) * a + torch.sin(f * angle) / torch.sin(angle) * b
                )
                assert torch.allclose(by_pair[draw, pair, i].flatten(), expected, atol=1e-12)


def test_interpolation_has_a_row_for_each_model_of_each_pair() -> None:
    fractions = [0.0, 0.5, 1.0]
    models = [Series("base", torch.randn(6, 1, 4, 4)), Series("finetuned", torch.randn(6, 1, 4, 4))]
    lines = interpolation_sheet("", models, fractions).lines
    assert [line.label for line in lines] == ["base", "finetuned"] * 2
    assert [line.apart for line in lines] == [False, False, True, False]
    for pair in range(2):
        for model in range(2):
            line = lines[2 * pair + model]
            assert torch.equal(line.images, models[model].images[3 * pair : 3 * pair + 3])
            assert set(line.framed) == {0, 2}
