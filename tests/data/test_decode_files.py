import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmd_ddm.data.decode import CorruptImageError, is_grey
from mmd_ddm.data.names import MOST_PIXELS
from tests.data.encoded import SIDE, Pixels, encoded, noise, square

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


def test_headers_tell_grey_from_colour(rng: np.random.Generator, tmp_path: Path) -> None:
    grey, colour = Image.fromarray(noise(rng, 4, 4)), Image.fromarray(noise(rng, 4, 4, 3))
    deep = Image.fromarray(np.zeros((4, 4), np.uint16))
    assert all(is_grey(encoded(image, "PNG")) for image in (grey, grey.convert("LA"), grey.convert("1"), deep))
    assert not any(is_grey(encoded(image, "PNG")) for image in (colour, colour.convert("P"), colour.convert("RGBA")))
    assert is_grey(np.zeros((1, 4, 4), np.uint8))
    assert not is_grey(np.zeros((3, 4, 4), np.uint8))
