import colorsys
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from mmd_ddm.data import decode as module
from mmd_ddm.data.crop import AS_IS, CELEBA, CENTRE_BICUBIC, CENTRE_BILINEAR, Crop, UnfitImageError
from mmd_ddm.data.decode import CorruptImageError, decode, is_grey
from mmd_ddm.data.names import MOST_PIXELS

SIDE = 12
Pixels = NDArray[np.uint8]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def noise(rng: np.random.Generator, *shape: int) -> Pixels:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def square(content: bytes | Pixels, channels: int = 3, side: int = SIDE) -> Pixels:
    return decode(content, channels, AS_IS, side)


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


# what has to be done to the stored rows so that they are seen upright (EXIF 2.3, tag 274)
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_noted_orientation_is_applied(orientation: int, form: str, rng: np.random.Generator) -> None:
    colour = noise(rng, SIDE, SIDE, 3)
    exif = Image.Exif()
    exif[274] = orientation
    content = encoded(Image.fromarray(colour), form, exif=exif)
    assert np.array_equal(square(content), UPRIGHT[orientation](colour).transpose(2, 0, 1))


def test_damaged_tags_leave_the_pixels(rng: np.random.Generator) -> None:
    colour = noise(rng, SIDE, SIDE, 3)
    content = encoded(Image.fromarray(colour), "PNG", exif=b"Exif\0\0II*\0garbage")
    assert np.array_equal(square(content), colour.transpose(2, 0, 1))


def test_first_frame_of_an_animation(rng: np.random.Generator) -> None:
    frames = [Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)) for value in (10, 200)]
    for form in ("GIF", "PNG", "WEBP"):
        extra = {"lossless": True} if form == "WEBP" else {}
        content = encoded(frames[0], form, save_all=True, append_images=frames[1:], **extra)
        assert (square(content) == 10).all(), form


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_truncated_files_are_never_half_an_image(form: str, rng: np.random.Generator) -> None:
    content = encoded(Image.fromarray(noise(rng, 40, 40, 3)), form)
    whole = square(content, side=40)
    refused = 0
    for length in range(0, len(content), max(1, len(content) // 60)):
        try:
            found = square(content[:length], side=40)
        except CorruptImageError:
            refused += 1
        else:  # what was cut off was no part of the pixels
            assert np.array_equal(found, whole)
    assert refused > 40


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_rest_was_never_written(progressive: bool, rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[37510] = b"a thumbnail within ends too: \xff\xd9"
    image = Image.fromarray(noise(rng, 40, 40, 3))
    content = encoded(image, "JPEG", progressive=progressive, exif=exif)
    whole = square(content, side=40)
    assert np.array_equal(square(content + b"trailing bytes \xff\xda \xff", side=40), whole)
    for share in (0.5, 0.8, 0.95):
        kept = int(share * len(content))
        with pytest.raises(CorruptImageError):
            square(content[:kept] + bytes(len(content) - kept), side=40)


def test_a_wrong_byte_in_a_png_is_noticed() -> None:
    # of one colour: its pixels are complete before the decoder comes to compare its own checksum
    content = encoded(Image.new("RGB", (64, 64), (77, 77, 77)), "PNG")
    whole = square(content, side=64)
    noticed = 0
    for at in range(8, len(content)):
        for bit in (1, 16, 128):
            damaged = content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]
            try:
                assert np.array_equal(square(damaged, side=64), whole)  # in a chunk that does not matter
            except CorruptImageError:
                noticed += 1
    assert noticed > 2 * len(content)


@pytest.mark.parametrize("content", [b"", b"a text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"<svg/>", bytes(100)])
def test_what_is_no_image(content: bytes) -> None:
    with pytest.raises(CorruptImageError):
        square(content)
    with pytest.raises(CorruptImageError):
        is_grey(content)


def huge_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


@pytest.mark.parametrize("width", [MOST_PIXELS // 8192 + 1, 11_000, 50_000])
def test_decompression_bombs_are_refused_unread(width: int) -> None:
    with pytest.raises(CorruptImageError, match="decompression bomb"):
        square(huge_png(width, max(8192, width)))


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


def test_headers_tell_grey_from_colour(rng: np.random.Generator, tmp_path: Path) -> None:
    grey, colour = Image.fromarray(noise(rng, 4, 4)), Image.fromarray(noise(rng, 4, 4, 3))
    deep = Image.fromarray(np.zeros((4, 4), np.uint16))
    assert all(is_grey(encoded(image, "PNG")) for image in (grey, grey.convert("LA"), grey.convert("1"), deep))
    assert not any(is_grey(encoded(image, "PNG")) for image in (colour, colour.convert("P"), colour.convert("RGBA")))
    assert is_grey(np.zeros((1, 4, 4), np.uint8))
    assert not is_grey(np.zeros((3, 4, 4), np.uint8))
