from pathlib import Path

import pytest
import torch
from torch import Tensor

from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.store import Rows, RowWriter

SHAPE = (3, 5, 4)
SIZES = (4, 1, 6)  # of the parts


@pytest.fixture
def pixels() -> Tensor:
    return torch.randint(0, 256, (sum(SIZES), *SHAPE), dtype=torch.uint8)


def stored(folder: Path, pixels: Tensor, labels: Tensor | None = None) -> Rows:
    writer = RowWriter(folder, dtype=pixels.dtype, shape=tuple(pixels.shape[1:]), parts=len(SIZES), key={})
    for part, rows in enumerate(pixels.split(SIZES)):
        writer.write(part, rows, None if labels is None else labels.split(SIZES)[part])
    return writer.finish({})


def test_rows_of_a_store_behave_as_a_tensor_does(pixels: Tensor, tmp_path: Path) -> None:
    labels = torch.arange(len(pixels)) % 3
    kept = ImageSet("x", stored(tmp_path / "store", pixels, labels), labels, mirrored=True)
    held = ImageSet("x", pixels, labels, mirrored=True)
    assert len(kept) == len(held) == len(pixels)
    assert kept.image_shape == held.image_shape == SHAPE
    for indices in (slice(None), slice(2, 7), torch.tensor([9, 0, 9, 4])):
        assert torch.equal(kept.floats(indices), held.floats(indices))
        assert kept.floats(indices).dtype == torch.float32
    for size in (1, 3, 100):
        expected = pixels.split(size)
        for images in (kept, held):
            found = list(images.pieces(size))
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_fingerprint_of_a_store_is_its_own(pixels: Tensor, tmp_path: Path) -> None:
    rows = stored(tmp_path / "a", pixels)
    assert ImageSet("x", rows, None, False).fingerprint == rows.fingerprint
    touched = pixels.clone()
    touched[-1, -1, -1, -1] += 1
    assert stored(tmp_path / "b", touched).fingerprint != rows.fingerprint


def test_wrong_stores_are_refused(pixels: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        ImageSet("x", stored(tmp_path / "floats", pixels.float()), None, False)
    with pytest.raises(ValueError, match="uint8"):
        ImageSet("x", stored(tmp_path / "features", pixels.flatten(1)), None, False)
    with pytest.raises(ValueError, match="int64"):
        ImageSet("x", stored(tmp_path / "few", pixels), torch.zeros(3, dtype=torch.int64), False)
