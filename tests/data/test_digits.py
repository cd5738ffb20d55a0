import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.load import load_dataset

# the bank on a user's disk is found by this number, so it must not change from one release to the next
DIGITS_FINGERPRINT = "9bb7385f13dedc7f932b229eca08c8aeb7cde2ee33cbf636d6eda50ff1e62e8d"


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_dataset(dataset_spec("digits"))


def test_each_count_of_dark_cells_has_its_grey(digits: ImageSet) -> None:
    # 255 v / 16 for v = 0, 1, 2 ... rounded by hand; v = 8 gives 127.5, which rounds to the even 128
    greys = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    scans = load_digits()
    expected = np.array(greys, dtype=np.uint8)[scans.images.astype(int)]
    assert digits.images.dtype == torch.uint8
    assert np.array_equal(digits.images[:, 0].numpy(), expected)
    assert digits.labels is not None
    assert digits.labels.dtype == torch.int64
    assert digits.labels.tolist() == scans.target.tolist()


def test_floats_fill_the_range(digits: ImageSet) -> None:
    floats = digits.floats()
    assert floats.dtype == torch.float32
    assert floats.shape == (1797, 1, 8, 8)
    assert (floats.min().item(), floats.max().item()) == (-1.0, 1.0)
    grey = ImageSet("grey", torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), None, False)
    assert grey.floats().flatten().tolist() == pytest.approx([-1.0, 51 / 127.5 - 1, 1.0], abs=1e-7)
    assert torch.equal(digits.floats(torch.tensor([7, 3])), floats[[7, 3]])


def test_fingerprint_is_stable_and_tells_sets_apart(digits: ImageSet) -> None:
    assert digits.fingerprint == DIGITS_FINGERPRINT
    by_hand = b"torch.uint8 (1797, 1, 8, 8) " + digits.images.numpy().tobytes()
    assert digits.fingerprint == hashlib.sha256(by_hand).hexdigest()
    touched = digits.images.clone()
    touched[-1, 0, -1, -1] += 1
    assert ImageSet("digits", touched, None, False).fingerprint != digits.fingerprint
    reshaped = digits.images.reshape(1797, 1, 4, 16)
    assert ImageSet("digits", reshaped, None, False).fingerprint != digits.fingerprint


def test_fingerprint_does_not_depend_on_the_memory_layout(digits: ImageSet) -> None:
    transposed = digits.images.transpose(2, 3).contiguous().transpose(2, 3)
    assert not transposed.is_contiguous()
    assert ImageSet("digits", transposed, None, False).fingerprint == digits.fingerprint


def test_digits_are_what_their_entry_says(digits: ImageSet) -> None:
    found = dataset_spec("digits")
    assert len(digits) == found.size
    assert digits.image_shape == (found.channels, found.resolution, found.resolution)
    assert digits.mirrored == found.mirrored


def test_wrong_tensors_are_refused(digits: ImageSet) -> None:
    with pytest.raises(ValueError, match="uint8"):
        ImageSet("x", digits.floats(), None, False)
    with pytest.raises(ValueError, match="uint8"):
        ImageSet("x", digits.images[:0], None, False)
    with pytest.raises(ValueError, match="int64"):
        ImageSet("x", digits.images, torch.zeros(3, dtype=torch.int64), False)
