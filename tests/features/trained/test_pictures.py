import pytest
import torch

from mmd_ddm.features.trained import pictures


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(count: int = 50) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8) * 2 - 1


def test_nothing_happens_when_nothing_is_asked_for() -> None:
    given = images()
    torch.testing.assert_close(pictures.shift(given, 0), given)
    torch.testing.assert_close(pictures.jitter(given, 0.0, 1.0), given)
    torch.testing.assert_close(pictures.crop(given, 1.0), given, rtol=0, atol=2)  # the aspect still changes
    for change in (pictures.without_colour, pictures.blur):
        assert torch.equal(change(given, 0.0), given)
    assert torch.equal(pictures.jitter(given, 0.5, 0.0), given)


def test_shifts_are_whole_mirrored_at_the_border_and_independent() -> None:
    given = images(400)
    shifted = pictures.shift(given, 2)
    padded = torch.nn.functional.pad(given, (2, 2, 2, 2), mode="reflect")
    places = []
    for image, around in zip(shifted, padded, strict=True):
        windows = around.unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4)
        same = (windows == image).all((2, 3, 4)).nonzero()
        assert len(same) == 1
        places.append(tuple(same[0].tolist()))
    # each of 25 places is missing among 400 draws with probability 25 exp(-16) = 3e-6
    assert len(set(places)) == 25


def test_crops_are_linear_in_place_and_within_the_image() -> None:
    # a ramp stays a ramp: its slope is the part's width, its values those within the image
    ramp = (torch.arange(16) * 2 + 1) / 16 - 1
    given = ramp.expand(500, 3, 16, 16)
    inner = pictures.crop(given, 0.25)[:, 0, 8, 1:-1]  # at the border a half pixel is mirrored
    slopes = inner.diff(dim=1)
    torch.testing.assert_close(slopes, slopes[:, :1].expand_as(slopes), rtol=0, atol=1e-5)
    part = slopes[:, 0] / (2 / 16)
    least, most = (0.25 * 3 / 4) ** 0.5, 1.0
    assert least - 1e-4 <= part.min() < least + 0.1
    assert most - 0.01 < part.max() <= most + 1e-4
    assert inner.abs().max() < 1


def test_greys_are_luminance() -> None:
    given = images()
    grey = pictures.without_colour(given, 1.0)
    expected = 0.299 * given[:, 0] + 0.587 * given[:, 1] + 0.114 * given[:, 2]
    for channel in range(3):
        torch.testing.assert_close(grey[:, channel], expected)
    single = given[:, :1]
    assert pictures.without_colour(single, 1.0) is single
    some = pictures.without_colour(images(2000), 0.2)
    part = (some[:, 0] == some[:, 1]).all(2).all(1).double().mean()
    assert abs(part - 0.2) < 5 * (0.2 * 0.8 / 2000) ** 0.5


def test_jitter_keeps_black_and_the_order_of_greys() -> None:
    black = torch.full((10, 3, 8, 8), -1.0)
    torch.testing.assert_close(pictures.jitter(black, 0.4, 1.0), black)
    grey = torch.linspace(-1, 1, 64).view(1, 1, 8, 8).expand(200, 3, 8, 8)
    changed = pictures.jitter(grey, 0.4, 1.0).flatten(2)
    assert bool((changed.diff(dim=2) > 0).all())
    # a ramp's contrast is multiplied by brightness and contrast, within (1 +- 0.4)^2, and 1 +- 0.1 of the channel
    contrast = (changed[..., -1] - changed[..., 0]) / 2
    assert 0.6**2 * 0.9 < contrast.min() < 0.6
    assert 1.4 < contrast.max() < 1.4**2 * 1.1


def test_blur_keeps_constants_and_lessens_noise() -> None:
    flat = torch.full((5, 3, 8, 8), 0.3)
    torch.testing.assert_close(pictures.blur(flat, 1.0), flat)
    given = torch.randn(200, 3, 32, 32)
    variance = pictures.blur(given, 1.0)[..., 1:-1, 1:-1].var((1, 2, 3))
    # the part p of the filter: (1 - p)^2 + 2 (1 - p) p / 4 + p^2 (3/8)^2, from 1 down to 0.14; 5 standard errors
    assert variance.max() < 1.1
    assert variance.min() < 0.2
    assert variance.min() > 0.1406 * (1 - 5 * (2 / 300) ** 0.5)
