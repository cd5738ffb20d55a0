import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.registry import available_feature_spaces, check_feature_space, weights_of
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.trained.load import load_trained
from mmd_ddm.features.trained.weights import SHIPPED, find_trained, weights_file

NAMES = ("classifier", "contrastive")


@pytest.fixture(scope="module")
def real() -> Tensor:
    return load_dataset(dataset_spec("digits")).floats()


@pytest.fixture(scope="module", params=NAMES)
def space(request: pytest.FixtureRequest) -> FeatureSpace:
    return load_feature_space(request.param, "digits")


def test_both_are_available() -> None:
    assert available_feature_spaces("digits")[:2] == NAMES
    assert not set(NAMES) & set(available_feature_spaces("nothing"))


def test_they_are_small(space: FeatureSpace) -> None:
    assert weights_file(SHIPPED, "digits", space.name).stat().st_size < 300_000
    assert 64 <= space.dim <= 128
    assert space.image_shape == (1, 8, 8)


def test_each_feature_has_unit_root_mean_square(space: FeatureSpace, real: Tensor) -> None:
    features = space(real)
    assert features.shape == (1797, space.dim)
    assert features.dtype == torch.float32
    mean_squares = features.double().square().mean(0)
    # each of 1797 terms carries a few float32 roundings (6e-8) of numbers of order 1
    torch.testing.assert_close(mean_squares.sqrt(), torch.ones(space.dim).double(), rtol=0, atol=1e-5)
    assert features.var(0).min() > 0.01  # none is a constant


def test_spaces_tell_bad_images_from_good_ones(space: FeatureSpace, real: Tensor) -> None:
    labels = load_dataset(dataset_spec("digits")).labels
    assert labels is not None
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    half, other = space(real[order[:898]]), space(real[order[898:]])
    chance = kid(half, other)
    assert abs(chance.mmd2) < 4 * chance.standard_error
    kernel = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])).view(1, 1, 3, 3) / 16
    padded = torch.nn.functional.pad(real, (1, 1, 1, 1), mode="replicate")
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    spoilt = {
        "blurred": torch.nn.functional.conv2d(padded, kernel)[order[898:]],
        "noisy": (real + 0.5 * noise)[order[898:]],
        "without 0 and 1": real[labels > 1],
        "inverted": -real[order[898:]],
    }
    for what, images in spoilt.items():
        found = kid(space(images), half)
        assert found.mmd2 > 5 * abs(chance.mmd2), what
        assert found.mmd2 > 4 * chance.standard_error, what


def test_spaces_are_different_networks() -> None:
    shapes = [sorted(tuple(p.shape) for p in load_feature_space(n, "digits").network.parameters()) for n in NAMES]
    assert not set(shapes[0]) & {shape for shape in shapes[1] if len(shape) > 1}


def test_unknown_space_names_the_ones_that_fit() -> None:
    with pytest.raises(UserError, match=r"'incept'.*'digits'.*classifier, contrastive, scattering,.*timm:MODEL\.$"):
        load_feature_space("incept", "digits")
    with pytest.raises(UserError, match=r"'classifier'.*'nothing'.*inception.*mmd-ddm pretrain .*--what classifier"):
        load_feature_space("classifier", "nothing")


def test_trained_spaces_take_images_as_they_are() -> None:
    with pytest.raises(UserError, match="'classifier' takes images as they are; use preprocessing 'evaluation'"):
        load_feature_space("classifier", "digits", "published")
    with pytest.raises(UserError, match="no preprocessing 'paper'; choose one of: evaluation, published"):
        load_feature_space("classifier", "digits", "paper")


def test_spaces_of_ones_own_come_after_those_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = weights_file(SHIPPED, "digits", "classifier")
    for dataset in ("digits", "mine"):
        shutil.copy(shipped, weights_file(tmp_path, dataset, "classifier"))
    assert "classifier" not in available_feature_spaces("mine")
    monkeypatch.setenv("MMD_DDM_WEIGHTS", str(tmp_path))
    assert available_feature_spaces("mine")[0] == "classifier"
    check_feature_space("classifier", "mine")
    assert load_feature_space("classifier", "mine").dim == 96
    assert weights_of("classifier", "digits") == (shipped, True, "shipped with mmd-ddm", shipped.stat().st_size)
    own = weights_file(tmp_path, "mine", "classifier")
    assert weights_of("classifier", "mine") == (own, True, "mmd-ddm pretrain", own.stat().st_size)
    assert find_trained("mine", "contrastive") is None


def test_loading_leaves_the_random_numbers_alone() -> None:
    before = torch.random.get_rng_state()
    load_feature_space("classifier", "digits")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = weights_file(SHIPPED, "digits", "classifier").read_bytes()
    cut, pickled, plain, absent = (tmp_path / name for name in ("cut", "pickled", "plain", "absent"))
    cut.write_bytes(whole[: len(whole) // 2])
    torch.save({"scale": torch.ones(3)}, pickled)
    save_file({"scale": torch.ones(3)}, plain)
    for file in (cut, pickled, plain, absent):
        with pytest.raises(UserError, match=rf"{file.name}.*train it again"):
            load_trained(file)
