"""The laws of a feature space, on every one that there is; published networks have their true sizes, random weights."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.evaluation.evaluator import from_uint8
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.space import FeatureSpace, features_of
from mmd_ddm.features.untrained.listing import UNTRAINED

INCEPTIONS = ("inception", "inception_spatial", "inception_logits")
TIMM = "timm:test_vit.r160_in1k"
DIMS = {"classifier": 96, "contrastive": 96, **dict(zip(INCEPTIONS, (2048, 2023, 1008), strict=True))}
DIMS |= {"scattering": 304, "random_conv": 984, "patches": 540, "spectrum": 258, "pixels": 1023}
DIMS |= {"clip": 512, TIMM: 64, "dinov2": 768}
FILES = {"clip": "clip_file", "dinov2": "dinov2_file", TIMM: "timm_file"}
TRAINED = ("classifier", "contrastive")


class Case(NamedTuple):
    """A space, three images for it, and a shape of images that it refuses."""

    space: FeatureSpace
    images: Tensor
    refused: tuple[int, int, int]


@pytest.fixture(scope="module", params=[*list(DIMS)[:-1], pytest.param("dinov2", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest, folder: Path, photos: Tensor) -> Case:
    name: str = request.param
    if name in TRAINED:
        return Case(load_feature_space(name, "digits"), load_dataset(dataset_spec("digits")).floats()[16:19], (3, 8, 8))
    if name in UNTRAINED:
        images = from_uint8(photos[:3, :, :16, :16]) / 2
        return Case(load_feature_space(name, "anything", image_shape=(3, 16, 16)), images, (3, 8, 8))
    request.getfixturevalue(
        {"clip": "clip_file", "dinov2": "dinov2_file", TIMM: "timm_file"}.get(name, "inception_file")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMD_DDM_WEIGHTS", str(folder))
        patch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
        return Case(
            load_feature_space(name, "anything"), from_uint8(photos[:3, :, :8, :8]) / 2, (2, 8, 8)
        )  # off the kinks at -1, 1


def test_features_are_frozen_functions_of_one_image(case: Case) -> None:
    space, images, _ = case
    given = images.clone()
    features = space(images)
    assert torch.equal(images, given)
    assert features.shape == (3, space.dim) == (3, DIMS[space.name])
    assert features.dtype == torch.float32
    assert torch.equal(space(images), features)
    space.train()
    assert not any(module.training for module in space.modules())
    assert not any(parameter.requires_grad for parameter in space.parameters())
    # float32 sums in another order
    close = 1e-5 * float(features.abs().max())
    torch.testing.assert_close(space(images[1:2]), features[1:2], rtol=0, atol=close)
    torch.testing.assert_close(features_of(space, images, batch=2), features, rtol=0, atol=close)


def test_gradient_is_the_derivative_along_a_direction(case: Case) -> None:
    """Along one random direction of the image and one of the features, in float64."""
    space = copy.deepcopy(case.space).double()
    generator = torch.Generator().manual_seed(5)
    image = case.images[:1].double().requires_grad_()
    towards = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    along = torch.randn(space.dim, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(space(image) @ along, image)
    step = 1e-9  # a deep random network of ReLUs has a kink every 1e-7 or so; rounding adds 1e-16 * 100 / 1e-9
    with torch.no_grad():
        difference = (space(image + step * towards) - space(image - step * towards)) @ along / (2 * step)
    assert (gradient * towards).sum().item() == pytest.approx(difference.item(), rel=1e-5)
    assert gradient.abs().min() > 0  # every pixel matters


def test_other_image_shapes_are_refused(case: Case) -> None:
    with pytest.raises(ValueError, match=r"\((1, 8, 8|3, 16, 16)\).*\(3, 8, 8\)|N x 1 x H x W or N x 3 x H x W"):
        case.space(torch.zeros(2, *case.refused))


def test_identity_is_that_of_the_function(case: Case) -> None:
    """Equal for an equal function, another for another name, preprocessing or weight."""
    space = case.space
    same, changed = copy.deepcopy(space), copy.deepcopy(space)
    # the first by name; the last is the scale
    min(changed.state_dict().items())[1].view(-1)[0] += 1
    scale = space.scale.clone()
    scale[3] += 1e-6
    others = [
        changed,
        FeatureSpace("other", space.network, space.scale, space.image_shape, space.preprocessing),
        FeatureSpace(space.name, space.network, space.scale, space.image_shape, "halved"),
        FeatureSpace(space.name, space.network, scale, space.image_shape, space.preprocessing),
    ]
    assert same.identity == space.identity
    assert len({space.identity, *(other.identity for other in others)}) == 5


def test_identity_is_the_same_in_every_process() -> None:
    asked = "from mmd_ddm.features.load import load_feature_space as f; print(f('classifier', 'digits').identity)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    again = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert again.stdout.strip() == load_feature_space("classifier", "digits").identity
