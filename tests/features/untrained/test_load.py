"""Spaces without training by name: their calibration, their identity, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.features.registry import available_feature_spaces, check_feature_space, weights_of
from mmd_ddm.features.untrained import load
from mmd_ddm.features.untrained.listing import UNTRAINED
from mmd_ddm.features.untrained.load import STATISTICS, load_untrained, untrained_dim
from mmd_ddm.features.untrained.statistics import opponent
from mmd_ddm.features.untrained.synthetic import synthetic_images

SHAPE = (3, 16, 16)
DIMS = {"scattering": 304, "random_conv": 984, "patches": 540, "spectrum": 258, "pixels": 1023}


@pytest.fixture(scope="module")
def synthetic() -> Tensor:
    return synthetic_images(SHAPE)


def test_they_are_there_for_every_data_set_and_need_nothing() -> None:
    assert tuple(STATISTICS) == UNTRAINED
    assert set(UNTRAINED) <= set(available_feature_spaces("nothing"))
    for name, dim in DIMS.items():
        check_feature_space(name, "nothing")
        assert weights_of(name, "nothing") == (None, True, "needs no weights", None)
        assert untrained_dim(name, SHAPE) == dim


@pytest.mark.parametrize("name", UNTRAINED)
def test_features_are_calibrated_on_synthetic_images(name: str, synthetic: Tensor) -> None:
    """Centred and of mean square 1, with groups whose inner products vary alike, up to the rounding of constants."""
    space = load_untrained(name, SHAPE)
    features = space(synthetic.float()).double()
    deviation = features.std(0, correction=0)
    assert (features.mean(0).abs() / deviation).max() < 1 / 256
    assert features.square().mean().item() == pytest.approx(1, abs=0.01)  # three digits of each of two factors
    off = ~torch.eye(len(features), dtype=torch.bool)
    groups = features.split(space.network.statistics.groups, dim=1)  # type: ignore[union-attr, operator]
    spreads = torch.stack([(part @ part.T)[off].square().mean() for part in groups])
    assert spreads.max() / spreads.min() < 1.04  # fourth power of the rounding


@pytest.mark.parametrize("name", UNTRAINED)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 11, 11), (1, 32, 32)])
def test_other_shapes_are_taken_and_flat_images_have_a_gradient(name: str, shape: tuple[int, int, int]) -> None:
    network = STATISTICS[name](shape).float()
    images = torch.stack([torch.zeros(shape), torch.full(shape, -1.0), torch.full(shape, 1.0)]).requires_grad_()
    features = network(images)
    assert features.shape == (3, untrained_dim(name, shape))
    (gradient,) = torch.autograd.grad(features.square().sum(), images)
    assert features.isfinite().all()
    assert gradient.isfinite().all()


def test_identity_is_the_same_in_every_process() -> None:
    asked = "from mmd_ddm.features.untrained.load import load_untrained as f; print(f('patches', (1, 8, 8)).identity)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert again.stdout.strip() == load_untrained("patches", (1, 8, 8)).identity


@pytest.mark.parametrize("name", UNTRAINED)
def test_identity_does_not_depend_on_the_order_of_sums(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = load_untrained(name, (1, 8, 8)).identity
    monkeypatch.setattr(load, "synthetic_images", lambda shape: synthetic_images(shape).flip(0))
    assert load_untrained(name, (1, 8, 8)).identity == here


def test_identity_tells_shapes_apart() -> None:
    assert len({load_untrained("pixels", shape).identity for shape in [(1, 8, 8), (1, 9, 9), (3, 8, 8)]}) == 3


@pytest.mark.parametrize("shape", [(3, 7, 7), (3, 16, 8), (2, 16, 16)])
def test_unfit_images_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match=r"'patches' takes square images of 1 or 3 .*; choose another"):
        check_feature_space("patches", "own", shape)
    with pytest.raises(UserError, match="'patches' takes square images"):
        load_feature_space("patches", "own", image_shape=shape)


def test_shape_and_own_preprocessing_are_asked_for() -> None:
    with pytest.raises(ValueError, match="give image_shape"):
        load_feature_space("spectrum", "own")
    with pytest.raises(UserError, match="takes images as they are"):
        load_feature_space("spectrum", "own", "published", SHAPE)


def test_mixtures_have_them_side_by_side(synthetic: Tensor) -> None:
    spaces = [load_feature_space(name, "own", image_shape=(1, 8, 8)) for name in ("spectrum", "pixels")]
    images = synthetic[:2, :1, :8, :8].float()
    torch.testing.assert_close(FeatureMixture(spaces)(images), torch.cat([each(images) for each in spaces], dim=1))


def test_synthetic_images_look_natural(synthetic: Tensor) -> None:
    """In range, edges rare and strong, colours weaker than brightness, power falling about as 1/f^2."""
    assert synthetic.abs().max() <= 1
    planes = opponent(synthetic)
    steps = planes[:, 0, :, 1:] - planes[:, 0, :, :-1]
    assert (steps**4).mean() / (steps**2).mean() ** 2 > 6  # 3 of a Gaussian
    deviations = planes.std((0, 2, 3))
    assert deviations[0] > 2 * deviations[1] > 2 * deviations[2]
    power = torch.fft.fft(planes[:, 0] * torch.hann_window(16, dtype=torch.float64)).abs().square().mean((0, 1))
    slope = slope_of(power[2:8])
    assert -2.7 < slope < -1.2
    assert torch.equal(synthetic_images(SHAPE), synthetic)


def slope_of(power: Tensor) -> float:
    """Of log power over log frequency, frequencies being 2 to 7 waves an image."""
    x = torch.arange(2, 8, dtype=torch.float64).log()
    return float(torch.linalg.lstsq(torch.stack([x, torch.ones(6, dtype=torch.float64)], 1), power.log()).solution[0])
