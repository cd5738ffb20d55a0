"""The published networks at their true sizes, with random weights, against the libraries' own functions."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.evaluation.evaluator import from_uint8
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.mixture import FeatureMixture
from mmd_ddm.features.published import load as published
from mmd_ddm.features.published.inception import in_one_pass
from mmd_ddm.features.published.vision import scaled_positions
from mmd_ddm.features.space import FeatureSpace
from tests.inception import torch_fidelity_inception

pytestmark = pytest.mark.usefixtures("own_weights")
CLOSE = 1e-5  # of the largest feature: a hundred float32 roundings, for sums in another order


def assert_close(found: Tensor, expected: Tensor, relative: float = CLOSE) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=relative * expected.abs().max().item())


@pytest.fixture(scope="module")
def reference(inception_file: Path) -> nn.Module:
    return torch_fidelity_inception(inception_file, ["2048", "logits_unbiased"])


def test_inception_equals_torch_fidelity_on_8_bit_images(reference: nn.Module, photos: Tensor) -> None:
    seen: list[Tensor] = []
    handle = reference.Mixed_6d.branch1x1.register_forward_hook(lambda *call: seen.append(call[2]))
    pool, logits = reference(photos)
    handle.remove()
    spatial = torch.stack([seen[0][:, channel] for channel in range(7)], dim=3).reshape(4, -1)  # height, width, channel
    mixture = FeatureMixture(
        [load_feature_space(name, "anything") for name in ["inception", "inception_spatial", "inception_logits"]]
    )
    assert mixture.dims == (2048, 2023, 1008)
    for found, expected in zip(mixture.split(mixture(from_uint8(photos))), (pool, spatial, logits), strict=True):
        assert found.dtype == torch.float32
        assert expected.std(0).max() > 1e-3 * expected.abs().max()  # the photos can be told apart at all
        assert_close(found, expected)


def test_inception_score_uses_those_logits() -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Network

    assert Network.get_default_feature_layer_for_metric("isc") == "logits_unbiased"
    assert Network.get_default_feature_layer_for_metric("fid") == "2048"


def test_layers_of_one_network_share_it_and_one_pass(inception_file: Path, photos: Tensor) -> None:
    spaces = [load_feature_space(name, "digits") for name in ("inception", "inception_spatial", "inception_logits")]
    assert len({id(space.network.body.backbone) for space in spaces}) == 1
    images = from_uint8(photos[:1, :1])  # grey
    mixture = FeatureMixture(
        [load_feature_space(name, "digits") for name in ["inception_spatial", "classifier", "inception"]]
    )
    passes: list[int] = []
    handle = spaces[0].network.body.backbone.Conv2d_1a_3x3.register_forward_hook(lambda *call: passes.append(1))
    with pytest.raises(ValueError, match="'classifier' takes"):  # the classifier of digits
        mixture(images)
    small = images[..., :8, :8]
    found = mixture.split(mixture(small))
    handle.remove()
    assert len(passes) == 2  # one a call
    for space, features in zip(mixture.spaces, found, strict=True):
        torch.testing.assert_close(features, space(small), rtol=1e-5, atol=1e-6)
    colour = small.expand(-1, 3, -1, -1)
    torch.testing.assert_close(spaces[0](colour), spaces[0](small), rtol=0, atol=0)
    key = next(key for key in published._networks if key[0] == "inception")
    del spaces, mixture, space, found
    assert key not in published._networks  # memory is given back with the last space


def test_preprocessings_of_one_network_are_not_joined(inception_file: Path, photos: Tensor) -> None:
    images = from_uint8(photos[:1])
    evaluation, paper = (load_feature_space("inception", "anything", way) for way in ("evaluation", "published"))
    assert evaluation.network.body.backbone is paper.network.body.backbone
    assert in_one_pass([evaluation.network, paper.network]) is None
    assert evaluation.identity != paper.identity
    assert (evaluation(images) - paper(images)).abs().max() > 1e-3


@pytest.fixture(scope="module")
def clip(clip_file: Path) -> FeatureSpace:
    """Kept for all tests, which then share its network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMD_DDM_WEIGHTS", str(clip_file.parent))
        patch.setenv("MMD_DDM_UNVERIFIED_WEIGHTS", "1")
        return load_feature_space("clip", "anything")


def test_clip_equals_open_clip(clip: FeatureSpace, clip_model: nn.Module, photos: Tensor) -> None:
    space = load_feature_space("clip", "anything", "published")
    assert space.network.body is clip.network.body
    assert space.dim == 512
    features = space(from_uint8(photos))
    # on the very input that the network gets, so that what is compared is the network
    pixels = nn.functional.interpolate(photos / 255, (224, 224), mode="bicubic")
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    expected = clip_model.encode_image((pixels - mean) / std)
    assert_close(features, expected)
    assert not torch.allclose(features.norm(dim=1), torch.ones(4), atol=0.01)  # not normalised


def test_clip_by_its_open_clip_name_is_the_same_function(clip: FeatureSpace) -> None:
    other = load_feature_space("open_clip:ViT-B-32/openai", "anything")
    assert other.network.body is clip.network.body
    assert other.preprocessing == clip.preprocessing  # open_clip's own transform is the table's line
    assert other.identity != clip.identity  # by name


def test_network_keeps_float32_under_autocast(clip: FeatureSpace, photos: Tensor) -> None:
    images = from_uint8(photos[:1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = clip(images)
    assert lowered.dtype == torch.float32
    torch.testing.assert_close(lowered, clip(images), rtol=0, atol=0)
    assert clip(images.bfloat16()).dtype == torch.float32


def test_dinov2_is_the_normalised_class_token(
    dinov2_file: Path, dinov2_state: dict[str, Tensor], photos: Tensor
) -> None:
    space = load_feature_space("dinov2", "anything")
    assert space.dim == 768
    images = from_uint8(photos[:2])
    # the authors' model, restated: patches, class token, positions, 12 pre-norm blocks with layer scale, norm
    w = dinov2_state
    pixels = nn.functional.interpolate((images + 1) / 2, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    pixels = (pixels - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    patches = nn.functional.conv2d(pixels, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14)
    tokens = torch.cat([w["cls_token"].expand(2, -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    grid = w["pos_embed"][:, 1:].reshape(1, 37, 37, 768).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, scale_factor=(16.1 / 37, 16.1 / 37), mode="bicubic", antialias=False)
    tokens = tokens + torch.cat([w["pos_embed"][:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
    for n in range(12):
        b = f"blocks.{n}."
        seen = nn.functional.layer_norm(tokens, (768,), w[b + "norm1.weight"], w[b + "norm1.bias"], 1e-6)
        qkv = nn.functional.linear(seen, w[b + "attn.qkv.weight"], w[b + "attn.qkv.bias"])
        q, k, v = qkv.view(2, 257, 3, 12, 64).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(2, 3) / 8).softmax(3) @ v).transpose(1, 2).reshape(2, 257, 768)
        mixed = nn.functional.linear(mixed, w[b + "attn.proj.weight"], w[b + "attn.proj.bias"])
        tokens = tokens + w[b + "ls1.gamma"] * mixed
        seen = nn.functional.layer_norm(tokens, (768,), w[b + "norm2.weight"], w[b + "norm2.bias"], 1e-6)
        hidden = nn.functional.gelu(nn.functional.linear(seen, w[b + "mlp.fc1.weight"], w[b + "mlp.fc1.bias"]))
        tokens = tokens + w[b + "ls2.gamma"] * nn.functional.linear(
            hidden, w[b + "mlp.fc2.weight"], w[b + "mlp.fc2.bias"]
        )
    expected = nn.functional.layer_norm(tokens, (768,), w["norm.weight"], w["norm.bias"], 1e-6)[:, 0]
    assert_close(space(images), expected)


def test_positions_keep_their_place() -> None:
    # the centre of row i of 16 lies at (i + 0.5) * 37 / 16.1 - 0.5 of 37; there a linear function of the row is missed
    # by |2 a + 1| t (1 - t) |1 - 2 t|, at most 0.5 * sqrt(3) / 18 with the cubic filter's a = -0.75
    learned = torch.zeros(1, 1 + 37 * 37, 2)
    learned[0, 0] = 7.0
    learned[0, 1:, 0] = torch.arange(37.0).repeat_interleave(37)
    learned[0, 1:, 1] = torch.arange(37.0).repeat(37)
    scaled = scaled_positions(learned, 16)
    assert (scaled[0, 0] == 7).all()
    rows = scaled[0, 1:, 0].view(16, 16)
    expected = (torch.arange(1, 15) + 0.5) * 37 / 16.1 - 0.5  # the outermost see the border
    torch.testing.assert_close(rows[1:15, 5], expected, rtol=0, atol=0.5 * 3**0.5 / 18 + 1e-5)
    torch.testing.assert_close(scaled[0, 1:, 1].view(16, 16), rows.T)


def test_timm_models_by_name(timm_file: Path, timm_model: nn.Module, photos: Tensor) -> None:
    from timm.data import create_transform, resolve_model_data_config
    from torchvision.transforms.functional import to_pil_image

    before = torch.random.get_rng_state()
    space = load_feature_space("timm:test_vit.r160_in1k", "anything")
    assert torch.equal(torch.random.get_rng_state(), before)
    model = copy.deepcopy(timm_model)
    model.reset_classifier(0)
    with torch.no_grad():
        expected = model(create_input(model, photos, create_transform, resolve_model_data_config, to_pil_image))
    assert space.dim == expected.shape[1] == 64
    # PIL rounds to 8 bits twice, here it's not rounded; so small a difference says it's the same transform
    assert_close(space(from_uint8(photos)), expected, relative=0.02)


def create_input(model: nn.Module, photos: Tensor, create_transform, config, to_pil) -> Tensor:  # type: ignore[no-untyped-def]
    transform = create_transform(**config(model), is_training=False)
    return torch.stack([transform(to_pil(photo)) for photo in photos])


def test_spaces_take_other_weights_for_other_functions(own_weights: Path, inception_file: Path) -> None:
    first = load_feature_space("inception", "anything")
    state = torch.load(inception_file, weights_only=True)
    whole = inception_file.read_bytes()
    state["Conv2d_1a_3x3.conv.weight"][0, 0, 0, 0] += 1
    try:
        torch.save(state, inception_file)
        other = load_feature_space("inception", "anything")
    finally:
        inception_file.write_bytes(whole)
    assert other.network.body.backbone is not first.network.body.backbone
    assert other.identity != first.identity
    assert load_feature_space("inception", "other data").identity == first.identity
