"""A thousand damaged files of others: always a clear error, never a hang, a crash or something that was not there."""

from __future__ import annotations

import io
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmd_ddm.data.crop import CENTRE_BICUBIC, UnfitImageError
from mmd_ddm.data.decode import CorruptImageError, decode
from mmd_ddm.data.readers.open import open_source
from mmd_ddm.data.store import Rows, RowWriter
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.errors import UserError
from mmd_ddm.finetuning.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from tests.data.sources import pictures, png, write_cifar, write_parquet
from tests.finetuning.test_loop import advance, state_of, weights

pytestmark = pytest.mark.faults
Damage = Callable[[bytes], bytes]
SECONDS = 20  # that one file may take: no answer is a hang


def damages(seed: int, count: int) -> Iterator[Damage]:
    """Bits turned, pieces cut off, cut out, zeroed, doubled or replaced by noise, a quarter of them in the header."""
    random = np.random.default_rng(seed)

    def change(content: bytes) -> bytes:
        data, kind = bytearray(content), random.integers(6)
        most = min(len(data), 200) if random.random() < 0.25 else len(data)
        at, length = int(random.integers(most)), int(random.integers(1, 64))
        if kind == 0:
            for place in random.integers(most, size=random.integers(1, 9)):
                data[place] ^= 1 << int(random.integers(8))
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at : at + length] = bytes(length)
        elif kind == 4:
            data[at:at] = data[at : at + length]
        else:
            data[at : at + length] = random.bytes(length)
        return bytes(data)

    for _ in range(count):
        yield change


@contextmanager
def limited() -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def refused(read: Callable[[], object], *errors: type[Exception]) -> bool:
    """Whether a reader refuses, in one sentence; any other error passes."""
    said = ""
    try:
        with limited():
            read()
    except errors as error:
        said = str(error)
        if not said or len(said) > 1000 or "\n" in said:
            raise
    return bool(said)


def test_stores(tmp_path: Path) -> None:
    rows = torch.from_numpy(pictures(20, side=8)).float()
    writer = RowWriter(tmp_path / "whole", dtype=torch.float32, shape=(3, 8, 8), parts=2, key={})
    for part, piece in enumerate(rows.split(10)):
        writer.write(part, piece, labels=torch.arange(10))
    writer.finish({})
    names, count = ("part-00000.arrow", "part-00001.arrow", "rows.json"), 0
    for number, change in enumerate(damages(1, 200)):
        folder, name = tmp_path / "damaged", names[number % 3]
        shutil.copytree(tmp_path / "whole", folder)
        (folder / name).write_bytes(change((folder / name).read_bytes()))

        def read(folder: Path = folder) -> None:
            opened = Rows(folder)
            assert torch.equal(opened[:], rows)
            assert opened.labels is None or torch.equal(opened.labels, torch.arange(10).repeat(2))

        count += refused(read, UserError)
        shutil.rmtree(folder)
    assert count > 120


def test_checkpoints(tmp_path: Path, toy: Denoiser) -> None:
    state = state_of(toy)
    advance(state, 3)
    save_checkpoint(state, tmp_path / "whole", {"seed": 1})
    trained, count = weights(toy).clone(), 0
    for number, change in enumerate(damages(2, 200)):
        folder, name = tmp_path / "damaged", ("state.json", "state.safetensors")[number % 2]
        shutil.copytree(tmp_path / "whole", folder)
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        with torch.no_grad():
            for parameter in toy.parameters():
                parameter.zero_()

        def read(folder: Path = folder) -> None:
            again: TrainingState = state_of(toy)
            load_checkpoint(again, folder, {"seed": 1})
            assert torch.equal(weights(toy), trained)
            assert (again.update, again.route) == (3, state.route)

        count += refused(read, UserError)
        shutil.rmtree(folder)
    assert count > 150


def read_all(spec: Path) -> None:
    """Read and decode all images of a source; a damaged image is for whoever prepares to name or skip."""
    source = open_source(str(spec))
    for content, label in source.read(0, len(source)):
        assert label is None or isinstance(label, int)
        with suppress(CorruptImageError, UnfitImageError):
            assert decode(content, 3, CENTRE_BICUBIC, 8).shape == (3, 8, 8)


def test_parquet_files(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "whole.parquet", [png(each) for each in pictures(8, side=8)], list(range(8)))
    content, file = whole.read_bytes(), tmp_path / "damaged.parquet"
    count = 0
    for change in damages(3, 200):
        file.write_bytes(change(content))
        count += refused(lambda: read_all(file), UserError)
    assert count > 50


@pytest.mark.parametrize("binary", [True, False])
def test_archives(binary: bool, tmp_path: Path) -> None:
    whole = write_cifar(tmp_path / "whole", pictures(5), [0, 1, 2, 3, 4], binary, packed=True)
    content, file = whole.read_bytes(), tmp_path / whole.name
    count = 0
    for change in damages(4, 50):
        file.write_bytes(change(content))
        count += refused(lambda: read_all(file), UserError)
    assert count > 30


def encoded() -> list[bytes]:
    pixels = Image.fromarray(pictures(1, side=24)[0].transpose(1, 2, 0))
    found = []
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        target = io.BytesIO()
        pixels.save(target, kind)
        found.append(target.getvalue())
    return found


def test_images() -> None:
    whole, count = encoded(), 0
    for number, change in enumerate(damages(5, 300)):

        def read(content: bytes = change(whole[number % len(whole)])) -> None:
            made = decode(content, 3, CENTRE_BICUBIC, 8)
            assert made.shape == (3, 8, 8)
            assert made.dtype == np.uint8

        count += refused(read, CorruptImageError, UnfitImageError)
    assert count > 100
