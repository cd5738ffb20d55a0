"""Preprocessing against the transforms of the libraries, on PIL images or tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
from torchvision.transforms.functional import resize, to_pil_image

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import from_uint8
from mmd_ddm.features.published.prepared import prepare
from mmd_ddm.features.published.preprocessing import TABLE, Preprocessing, preprocessing_of
from mmd_ddm.features.published.transforms import of_open_clip, of_timm

# PIL filters along rows, rounds to 8 bits (0.5 levels off), filters along columns, which makes of that at most the
# filter's sum of absolute weights times as much (1.25 for the cubic with a = -0.5, at a half), and rounds again
PIL_LEVELS = 0.5 * 1.25 + 0.5 + 0.005
SHAPES = [(32, 32), (48, 64), (300, 251), (224, 224)]


def smooth(height: int, width: int) -> Tensor:
    """A colour image of 8 bits that no filter throws out of 0..255."""
    rows, columns = torch.arange(height).view(-1, 1) / height, torch.arange(width) / width
    waves = [torch.sin(9 * rows + 5 * columns), torch.cos(7 * rows * columns), torch.sin(6 * columns - 4 * rows)]
    return (128 + 60 * torch.stack(waves)).round().to(torch.uint8)


def rough(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


def assert_pil(image: Tensor, how: Preprocessing, expected: Tensor) -> None:
    found = prepare(from_uint8(image[None]), how)[0]
    assert found.shape == expected.shape
    levels = (found - expected).abs() * torch.tensor(how.std).view(3, 1, 1) * 255
    assert levels.max() <= PIL_LEVELS


@pytest.mark.parametrize("shape", SHAPES)
def test_clip_is_open_clips_own_transform(shape: tuple[int, int]) -> None:
    from open_clip import image_transform

    transform = image_transform(224, is_train=False)
    assert_pil(smooth(*shape), TABLE["clip", "evaluation"], transform(to_pil_image(smooth(*shape))))


@pytest.mark.parametrize("shape", SHAPES)
def test_dinov2_is_bicubic_with_the_moments_of_imagenet(shape: tuple[int, int]) -> None:
    normalize = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    transform = Compose([Resize(224, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), normalize])
    assert_pil(smooth(*shape), TABLE["dinov2", "evaluation"], transform(to_pil_image(smooth(*shape))))


def test_overshoot_is_cut_off_as_in_8_bits() -> None:
    stripes = torch.zeros(3, 16, 16, dtype=torch.uint8)
    stripes[:, :, ::4] = 255
    stripes[:, :, 1::4] = 255
    evaluation, paper = (
        prepare(from_uint8(stripes[None]), how) for how in (TABLE["clip", "evaluation"], TABLE["clip", "published"])
    )
    white = (1 - torch.tensor(TABLE["clip", "evaluation"].mean)) / torch.tensor(TABLE["clip", "evaluation"].std)
    torch.testing.assert_close(evaluation.amax((0, 2, 3)), white)
    assert (paper.amax((0, 2, 3)) > white + 0.1).all()


@pytest.mark.parametrize("image", [rough(32, 32), rough(64, 64), smooth(300, 251)], ids=["32", "64", "300x251"])
def test_inception_is_torch_fidelitys(image: Tensor) -> None:
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    expected = interpolate_bilinear_2d_like_tensorflow1x(image[None].float(), size=(299, 299), align_corners=False)
    found = prepare(from_uint8(image[None]), TABLE["inception", "evaluation"])
    assert torch.equal(found, (expected - 128) / 128)  # 8-bit images come back exactly


def test_tensorflow_puts_pixel_i_at_i_times_the_scale() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) * 20
    found = prepare(ramp / 127.5 - 1, TABLE["inception", "evaluation"])
    assert found.shape == (1, 3, 299, 299)  # grey becomes colour
    expected = (torch.arange(299) * 8 / 299).clamp(max=7) * 20
    torch.testing.assert_close(found[0, 1, 100] * 128 + 128, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(32, 32), (48, 64), (300, 251)])
def test_published_is_resized_without_antialiasing(shape: tuple[int, int]) -> None:
    image = rough(*shape)
    pixels = image[None] / 255
    inception = resize(pixels, [299, 299], InterpolationMode.BILINEAR, antialias=False) * 2 - 1
    found = prepare(from_uint8(image[None]), preprocessing_of("inception", "published"))
    torch.testing.assert_close(found, inception, rtol=0, atol=2e-6)  # a few roundings of numbers up to 2
    normalize = Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    clip = normalize(resize(pixels, [224, 224], InterpolationMode.BICUBIC, antialias=False))
    found = prepare(from_uint8(image[None]), preprocessing_of("clip", "published"))
    torch.testing.assert_close(found, clip, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50.a1_in1k", "test_vit.r160_in1k", "vit_base_patch16_224.dino"])
@pytest.mark.parametrize("shape", [(32, 32), (200, 321)])
def test_timm_models_bring_their_own(name: str, shape: tuple[int, int]) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    model = torch.nn.Module()  # only its settings count here
    model.pretrained_cfg = timm.get_pretrained_cfg(name).to_dict()
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    assert_pil(smooth(*shape), of_timm(model, name), transform(to_pil_image(smooth(*shape))))


def test_what_is_not_supported_is_refused() -> None:
    model = torch.nn.Module()
    cases = {
        "border": {"crop_mode": "border"},
        "lanczos": {"interpolation": "lanczos"},
        "square": {"input_size": (3, 8, 9)},
    }
    for said, settings in cases.items():
        model.pretrained_cfg = settings
        with pytest.raises(UserError, match=f"'timm:x'.*{said}.*another model"):
            of_timm(model, "timm:x")
    model.preprocess_cfg = {"size": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, "resize_mode": "longest"}
    with pytest.raises(UserError, match=r"'open_clip:x'.*longest.*another model"):
        of_open_clip(model, "open_clip:x")
    with pytest.raises(UserError, match="no preprocessing for 'dinov2'; use preprocessing 'evaluation'"):
        preprocessing_of("dinov2", "published")
    with pytest.raises(UserError, match="no preprocessing 'best'; choose one of: evaluation, published"):
        preprocessing_of("clip", "best")
    with pytest.raises(ValueError, match="N x 1 x H x W or N x 3 x H x W"):
        prepare(torch.zeros(1, 2, 8, 8), TABLE["clip", "evaluation"])


@pytest.mark.parametrize("line", TABLE, ids="-".join)
def test_gradient_of_every_line(line: tuple[str, str]) -> None:
    generator = torch.Generator().manual_seed(0)
    image = (torch.rand(1, 1, 6, 7, generator=generator).double() - 0.5).requires_grad_()
    along = torch.randn(prepare(image, TABLE[line]).shape, generator=generator, dtype=torch.float64)
    towards = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((prepare(image, TABLE[line]) * along).sum(), image)
    with torch.no_grad():  # linear where nothing is cut off: a difference of any size is exact
        change = prepare(image + 1e-3 * towards, TABLE[line]) - prepare(image - 1e-3 * towards, TABLE[line])
    assert (gradient * towards).sum().item() == pytest.approx(((change * along).sum() / 2e-3).item(), rel=1e-9)


def test_snapping_to_whole_levels_leaves_other_images_alone() -> None:
    line = TABLE["clip", "published"]
    image = torch.full((1, 3, 224, 224), 100.4 / 127.5 - 1)
    torch.testing.assert_close(
        prepare(image, line)[0, 0, 0, 0] * line.std[0] + line.mean[0], torch.tensor(100.4 / 255), rtol=0, atol=1e-6
    )
