import colorsys
import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mmd_ddm.data import decode as module
from mmd_ddm.data.crop import CENTRE_BICUBIC, UnfitImageError
from mmd_ddm.data.decode import decode
from tests.data.encoded import SIDE, Pixels, encoded, noise, square


def luma(pixels: Pixels) -> Pixels:
    # ITU-R 601-2 in Pillow's 16-bit fixed point: 0.299, 0.587 and 0.114 times 2^16
    red, green, blue = pixels.astype(np.int64)
    return ((19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16).astype(np.uint8)


def test_colour_and_grey_are_kept_as_they_are(rng: np.random.Generator) -> None:
    colour, grey = noise(rng, SIDE, SIDE, 3), noise(rng, SIDE, SIDE)
    for form in ("PNG", "BMP", "TIFF", "PPM"):
        assert np.array_equal(square(encoded(Image.fromarray(colour), form)), colour.transpose(2, 0, 1))
        assert np.array_equal(square(encoded(Image.fromarray(grey), form), 1), grey[None])
    assert np.array_equal(square(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3))
    assert np.array_equal(square(encoded(Image.fromarray(colour), "PNG"), 1)[0], luma(colour.transpose(2, 0, 1)))
    assert square(colour.transpose(2, 0, 1)).tobytes() == colour.transpose(2, 0, 1).tobytes()
    assert np.array_equal(square(grey[None], 1), grey[None])


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_formats_are_pillows(form: str, rng: np.random.Generator) -> None:
    content = encoded(Image.fromarray(noise(rng, SIDE, SIDE, 3)), form)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(square(content), expected)


def test_black_and_white() -> None:
    image = Image.new("1", (2, 2))
    image.putpixel((1, 0), 1)
    assert square(encoded(image, "PNG"), 1, 2).tolist() == [[[0, 255], [0, 0]]]


def over_white(values: Pixels, alpha: Pixels) -> NDArray[np.float64]:
    return values * (alpha / 255) + 255 * (1 - alpha / 255)


def test_transparency_shows_white(rng: np.random.Generator) -> None:
    colour, grey, alpha = noise(rng, SIDE, SIDE, 3), noise(rng, SIDE, SIDE), noise(rng, SIDE, SIDE)
    alpha[0], alpha[1] = 0, 255
    rgba = encoded(Image.fromarray(np.dstack([colour, alpha])), "PNG")
    expected = over_white(colour, alpha[..., None]).transpose(2, 0, 1)
    assert np.abs(square(rgba) - expected).max() <= 1  # Pillow rounds twice, in fixed point
    assert (square(rgba)[:, 0] == 255).all()
    assert np.array_equal(square(rgba)[:, 1], colour[1].T)
    grey_alpha = encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG")
    assert np.abs(square(grey_alpha, 1)[0] - over_white(grey, alpha)).max() <= 1


def test_premultiplied_transparency() -> None:
    # 100 of 255 at an alpha of 51 = 255 / 5 is stored as 20; over white: 20 + 204
    image = Image.new("RGBA", (1, 1), (100, 100, 100, 51)).convert("RGBa")
    assert image.getpixel((0, 0)) == (20, 20, 20, 51)
    assert np.abs(np.asarray(module._in_channels(image, 3)).astype(int) - 224).max() <= 1
    grey = Image.new("LA", (1, 1), (100, 51)).convert("La")
    assert abs(int(np.asarray(module._in_channels(grey, 1))[0, 0]) - 224) <= 1


def test_palettes(rng: np.random.Generator) -> None:
    palette, index = noise(rng, 8, 3), rng.integers(0, 8, (SIDE, SIDE), dtype=np.uint8)
    image = Image.frombytes("P", (SIDE, SIDE), index.tobytes())
    image.putpalette(palette.flatten().tolist())
    expected = palette[index].transpose(2, 0, 1)
    assert np.array_equal(square(encoded(image, "PNG")), expected)
    assert np.array_equal(square(encoded(image, "GIF")), expected)
    one_clear = np.where(index == 3, 255, expected)
    assert np.array_equal(square(encoded(image, "PNG", transparency=3)), one_clear)
    alphas = bytes([0, 255, 128, 255, 255, 255, 255, 255])
    graded = over_white(expected, np.frombuffer(alphas, np.uint8)[index])
    assert np.abs(square(encoded(image, "PNG", transparency=alphas)) - graded).max() <= 1
    with_alpha = image.convert("PA")
    with_alpha.putalpha(0)
    assert (np.asarray(module._in_channels(with_alpha, 3)) == 255).all()


def test_a_transparent_grey_or_colour_key_shows_white() -> None:
    image = Image.new("L", (2, 1), 7)
    image.putpixel((1, 0), 9)
    assert decode(encoded(image, "PNG", transparency=7), 1, CENTRE_BICUBIC, 1).shape == (1, 1, 1)
    assert np.asarray(
        module._in_channels(Image.open(io.BytesIO(encoded(image, "PNG", transparency=7))), 1)
    ).tolist() == [[255, 9]]


def test_cmyk(rng: np.random.Generator) -> None:
    inks = noise(rng, SIDE, SIDE, 4)
    content = encoded(Image.frombytes("CMYK", (SIDE, SIDE), inks.tobytes()), "TIFF")
    expected = (255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:].astype(float)) / 255
    assert np.abs(square(content) - expected.transpose(2, 0, 1)).max() <= 1
    # a JPEG with Adobe's marker stores inverted inks: full magenta and yellow are red whichever way they are stored
    red = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in red
    assert np.abs(square(red, side=16).astype(int) - np.array([255, 0, 0])[:, None, None]).max() <= 4


def test_other_colour_spaces(rng: np.random.Generator) -> None:
    values = noise(rng, SIDE, SIDE, 3)
    luminance, blue, red = values.astype(float).transpose(2, 0, 1)
    expected = np.stack(  # JFIF's inverse of BT.601
        [
            luminance + 1.402 * (red - 128),
            luminance - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
            luminance + 1.772 * (blue - 128),
        ]
    ).clip(0, 255)
    found = module._in_channels(Image.frombytes("YCbCr", (SIDE, SIDE), values.tobytes()), 3)
    assert np.abs(np.asarray(found).transpose(2, 0, 1) - expected).max() <= 2  # Pillow's tables are in fixed point
    hue = np.array([[colorsys.hsv_to_rgb(*(pixel / 255)) for pixel in row] for row in values]) * 255
    found = module._in_channels(Image.frombytes("HSV", (SIDE, SIDE), values.tobytes()), 3)
    assert np.abs(np.asarray(found) - hue).max() <= 3


def test_cielab() -> None:
    # CIELAB relative to D50, as ICC profiles have it: sRGB's mid-grey 119 has L* = 50.03, its red (54.29, 80.80, 69.89)
    lab = [round(50.03 * 2.55), 0, 0, round(54.29 * 2.55), 81, 70]  # a* and b* as signed bytes, as in a TIFF
    image = Image.frombytes("LAB", (2, 1), bytes(lab))
    found = np.asarray(module._in_channels(image, 3)).astype(int)[0]
    assert np.abs(found[0] - 119).max() <= 2
    assert np.abs(found[1] - [255, 0, 0]).max() <= 12  # half a unit of a* and b*, at the border of what sRGB holds
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    colour = Image.new("RGB", (SIDE, SIDE), (140, 110, 90))
    as_lab = ImageCms.applyTransform(colour, ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert as_lab is not None
    back = square(encoded(as_lab, "TIFF"))
    assert np.abs(back[:, 0, 0].astype(int) - [140, 110, 90]).max() <= 3


def test_sixteen_bits_are_scaled_not_clipped(rng: np.random.Generator) -> None:
    values = rng.integers(0, 65536, (SIDE, SIDE), dtype=np.uint16)
    values[0, :6] = 0, 128, 129, 385, 65407, 65535  # 128 / 257 < 1/2 < 129 / 257
    expected = np.rint(values / 257).astype(np.uint8)
    assert expected[0, :6].tolist() == [0, 0, 1, 1, 255, 255]
    for form in ("PNG", "TIFF"):
        content = encoded(Image.fromarray(values), form)
        assert np.array_equal(square(content, 1)[0], expected)
        assert np.array_equal(square(content), np.stack([expected] * 3))
    big = Image.frombytes("I;16B", (SIDE, SIDE), values.astype(">u2").tobytes())
    assert np.array_equal(square(encoded(big, "TIFF"), 1)[0], expected)
    wide = Image.fromarray(values.astype(np.int32))
    assert wide.mode == "I"
    assert np.array_equal(square(encoded(wide, "TIFF"), 1)[0], expected)
    beyond = Image.fromarray(values.astype(np.int32) + 1)
    with pytest.raises(UnfitImageError, match="65536"):
        square(encoded(beyond, "TIFF"), 1)


def test_floats_only_in_their_range() -> None:
    def tiff(*values: float) -> bytes:
        return encoded(Image.fromarray(np.array([values] * len(values), np.float32)), "TIFF")

    assert square(tiff(0, 0.25, 1), 1, 3)[0, 0].tolist() == [0, 64, 255]  # 63.75
    for wrong in ((0.0, 255.0), (-0.1, 1.0), (0.0, float("nan"))):
        with pytest.raises(UnfitImageError, match="floating-point"):
            square(tiff(*wrong), 1, 2)
