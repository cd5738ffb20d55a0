from pathlib import Path

import pytest
import torch

from mmd_ddm.data import cifar10_small
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.cifar10_small import CLASSES, OF_EACH, SIDE, read_cifar10_small, write_cifar10_small
from mmd_ddm.data.load import load_dataset


def test_the_data_set_is_as_the_catalogue_says() -> None:
    images = load_dataset(dataset_spec("cifar10_small"))
    assert images.image_shape == (3, SIDE, SIDE)
    assert images.labels is not None
    assert images.labels.bincount().tolist() == [OF_EACH] * CLASSES
    # photographs: neighbouring pixels are alike
    floats = images.floats()
    differences = floats[..., 1:] - floats[..., :-1]
    assert differences.square().mean() < 0.5 * floats.var()  # of unrelated pixels: 2


def test_what_is_written_is_read_and_stays_within_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(CLASSES * OF_EACH, 3, 2, 2, generator=generator)
    images = (torch.nn.functional.interpolate(smooth, size=SIDE, mode="bilinear") * 255).to(torch.uint8)
    labels = torch.arange(CLASSES).repeat(OF_EACH)
    monkeypatch.setattr(cifar10_small, "_SHEET", tmp_path / "sheet.jpg")
    write_cifar10_small(images, labels, tmp_path / "sheet.jpg")
    first, found = read_cifar10_small()
    order = labels.argsort(stable=True)
    assert torch.equal(found, labels[order])
    # a quality of 98 rounds a coefficient to steps of 1 to 4 (libjpeg): an error of at most about 4 / sqrt(12)
    assert (first.float() - images[order].float()).square().mean().sqrt() < 1.5
    images[order[5]] = 255 - images[order[5]]
    write_cifar10_small(images, labels, tmp_path / "sheet.jpg")
    changed = (read_cifar10_small()[0] != first).flatten(1).any(1)
    assert changed.nonzero().tolist() == [[5]]
