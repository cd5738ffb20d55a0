"""Sheets with labels: every tile can be read back to the bit, and nothing leaves the sheet."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from mmd_ddm.evaluation.figures.labelled_sheet import DENSITY, SIDE, LabelledSheet, Line


def read(image: Image.Image) -> Tensor:
    """(3, H, W) uint8."""
    return (
        torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3).movedim(2, 0)
    )


def levels(*shape: int) -> Tensor:
    """Random images of which each value is one of the 256 that a PNG has."""
    return torch.randint(0, 256, shape).float() / 127.5 - 1


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 12), (3, 100, 100)])
def test_tiles_are_the_images_enlarged_by_a_whole_factor(shape: tuple[int, int, int], tmp_path: Path) -> None:
    rows = [levels(4, *shape), levels(3, *shape)]
    lines = [
        Line("one\nlabel", rows[0], ["a", "", "c", "d"], framed=(0, 3)),
        Line("", rows[1], framed=(1,), apart=True),
    ]
    sheet = LabelledSheet("title", lines, [{(0, 3): "above"}, {(1, 1): "heading"}], breaks=(2,), note="note")
    with Image.open(sheet.save(tmp_path / "sheet.png")) as saved:
        density, picture = saved.info["dpi"], saved.convert("RGB")
    assert density == pytest.approx((DENSITY, DENSITY), rel=0.01)  # PNG keeps whole pixels a metre
    factor = sheet.factor
    assert factor * min(shape[1:]) >= SIDE > (factor - 1) * min(shape[1:])
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            tile = read(picture.crop(sheet.box(row, column)))
            assert tile.shape == (3, factor * shape[1], factor * shape[2])
            small = tile[:, ::factor, ::factor]
            assert torch.equal(small, ((image + 1) * 127.5).round().to(torch.uint8).expand(3, -1, -1))
            assert torch.equal(tile, small.repeat_interleave(factor, 1).repeat_interleave(factor, 2))


def test_tiles_do_not_touch_and_all_ink_is_inside(tmp_path: Path) -> None:
    images = levels(3, 3, 8, 8)
    lines = [Line("a long label", images, ["1", "2", "3"], framed=range(3)) for _ in range(3)]
    sheet = LabelledSheet("word " * 60, lines, [{(0, 0): "0"}], breaks=(1,), note="word " * 90)
    boxes = [sheet.box(row, column) for row in range(3) for column in range(3)]
    for one, other in combinations(boxes, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    assert sheet.box(0, 1)[0] - sheet.box(0, 0)[2] > sheet.box(0, 2)[0] - sheet.box(0, 1)[2]
    picture = read(Image.open(sheet.save(tmp_path / "long.png")).convert("RGB"))
    for edge in (picture[:, :8], picture[:, -8:], picture[:, :, :8], picture[:, :, -8:]):
        assert bool((edge == 255).all())
    first, last = sheet.box(0, 0), sheet.box(2, 0)
    for part in (picture[:, : first[1] - 60], picture[:, first[1] :, : first[0] - 8], picture[:, last[3] + 40 :]):
        assert bool((part < 128).any())  # title, labels and note are there
    short = replace(sheet, title="word", note="word").save(tmp_path / "short.png")
    short = read(Image.open(short).convert("RGB"))
    assert picture.shape[1] > short.shape[1]  # of more lines
    assert picture.shape[2] == short.shape[2]
