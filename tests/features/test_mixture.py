import pytest
import torch
from torch import nn

from mmd_ddm.errors import UserError
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.features.specification import parse_features


def test_sums_are_read() -> None:
    assert parse_features("inception") == ((1.0, "inception"),)
    assert parse_features("inception+0.5*clip") == ((1.0, "inception"), (0.5, "clip"))
    assert parse_features(" 2*inception + 1e-2 * timm:resnet50.a1_in1k ") == (
        (2.0, "inception"),
        (0.01, "timm:resnet50.a1_in1k"),
    )
    assert parse_features("3*open_clip:ViT-B-16/laion2b_s34b_b88k") == ((3.0, "open_clip:ViT-B-16/laion2b_s34b_b88k"),)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "joined by [+]"),
        ("clip+", "joined by [+]"),
        ("+clip", "joined by [+]"),
        ("2*", "joined by [+]"),
        ("clip dinov2", "joined by [+]"),
        ("clip*2", "weight 'clip'"),
        ("*clip", "weight ''"),
        ("0*clip", "weight '0'"),
        ("inception+-1*clip", "weight '-1'"),
        ("nan*clip", "weight 'nan'"),
        ("inf*clip", "weight 'inf'"),
        ("2*3*clip", "weight '2[*]3'"),
        ("1e+3*clip", "joined by [+]"),
        ("clip+0.5*clip", "'clip' twice"),
    ],
)
def test_nonsense_is_refused(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        assert parse_features(text) is None


def test_features_stand_side_by_side() -> None:
    mixture = FeatureMixture([load_feature_space(name, "digits") for name in ["contrastive", "classifier"]])
    assert mixture.names == ("contrastive", "classifier")
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images.requires_grad_()
    features = mixture(images)
    assert features.shape == (5, sum(mixture.dims))
    for name, part in zip(mixture.names, mixture.split(features), strict=True):
        torch.testing.assert_close(part, load_feature_space(name, "digits")(images), rtol=0, atol=0)
    (both,) = torch.autograd.grad(features.sum(), images)
    each = [torch.autograd.grad(space(images).sum(), images)[0] for space in mixture.spaces]
    torch.testing.assert_close(both, each[0] + each[1])
    mixture.train()
    assert not any(module.training for module in mixture.modules())
    assert not any(parameter.requires_grad for parameter in mixture.parameters())


def test_scales_are_kept_and_one_space_is_a_mixture() -> None:
    space = FeatureSpace("twice", nn.Flatten(), torch.full((4,), 2.0), None)
    images = torch.arange(8.0).view(2, 1, 2, 2)
    mixture = FeatureMixture([space])
    assert mixture.dims == (4,)
    assert torch.equal(mixture(images), 2 * images.flatten(1))


def test_trained_spaces_have_no_published_preprocessing() -> None:
    with pytest.raises(UserError, match="'classifier' takes images as they are"):
        load_feature_space("classifier", "digits", "published")
