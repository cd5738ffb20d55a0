import numpy as np
import pytest
from PIL import Image

from mmd_ddm.data.crop import AS_IS, CELEBA, CENTRE_BICUBIC, CENTRE_BILINEAR, Crop, UnfitImageError
from mmd_ddm.data.decode import decode
from tests.data.encoded import encoded, noise

SIZES = [(64, 64), (65, 64), (64, 97), (150, 101), (333, 200), (77, 310)]


@pytest.mark.parametrize(("crop", "name"), [(CENTRE_BILINEAR, "BILINEAR"), (CENTRE_BICUBIC, "BICUBIC")])
@pytest.mark.parametrize("size", SIZES)
def test_centre_is_torchvisions(crop: Crop, name: str, size: tuple[int, int], rng: np.random.Generator) -> None:
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    image = Image.fromarray(noise(rng, size[1], size[0], 3))
    reference = transforms.Compose(
        [transforms.Resize(64, interpolation=InterpolationMode[name]), transforms.CenterCrop(64)]
    )
    expected = np.asarray(reference(image)).transpose(2, 0, 1)
    assert np.array_equal(decode(encoded(image, "PNG"), 3, crop, 64), expected)


def test_celeba_is_cut_as_published(rng: np.random.Generator) -> None:
    from torchvision.transforms import Resize

    aligned = noise(rng, 218, 178, 3)
    content = encoded(Image.fromarray(aligned), "PNG")
    window = Image.fromarray(aligned[121 - 64 : 121 + 64, 89 - 64 : 89 + 64])  # rows about y, columns about x
    assert np.array_equal(decode(content, 3, CELEBA, 128), np.asarray(window).transpose(2, 0, 1))
    assert np.array_equal(decode(content, 3, CELEBA, 64), np.asarray(Resize(64)(window)).transpose(2, 0, 1))
    with pytest.raises(UnfitImageError, match=r"218 x 178.*178 x 218"):
        decode(encoded(Image.fromarray(aligned.transpose(1, 0, 2)), "PNG"), 3, CELEBA, 64)
    with pytest.raises(UnfitImageError, match="never enlarged"):
        decode(content, 3, CELEBA, 129)


def test_nothing_is_enlarged_and_as_is_means_as_is(rng: np.random.Generator) -> None:
    content = encoded(Image.fromarray(noise(rng, 63, 200, 3)), "PNG")
    with pytest.raises(UnfitImageError, match=r"200 x 63.*64"):
        decode(content, 3, CENTRE_BICUBIC, 64)
    with pytest.raises(UnfitImageError, match=r"200 x 63.*63 x 63"):
        decode(content, 3, AS_IS, 63)
    assert decode(content, 3, CENTRE_BICUBIC, 63).shape == (3, 63, 63)
