"""Banks on disk: right, made once by whoever asks, resumed, and never mistaken for another."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

import mmd_ddm.discrepancy.bank_files as bank_files
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.store import RowWriter
from mmd_ddm.discrepancy.bank_files import bank_folder, stored_bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic, Gaussian
from mmd_ddm.discrepancy.mmd import within_mean
from mmd_ddm.errors import UserError

CPU = torch.device("cpu")
COUNT = 23
CALLS = "calls.txt"


class ToySpace:
    """Five features that no mirror image shares; writes down each call."""

    name, dim = "toy:net/1", 5

    def __init__(self, log: Path, identity: str = "a", fail_after: int | None = None) -> None:
        self.log, self.identity, self.fail_after = log, identity, fail_after
        self.weight = torch.randn(2 * 3 * 3, 5, generator=torch.Generator().manual_seed(3))

    def __call__(self, images: Tensor) -> Tensor:
        calls = len(self.log.read_text().splitlines()) if self.log.exists() else 0
        if self.fail_after is not None and calls >= self.fail_after:
            os._exit(9)  # as a kill would
        with self.log.open("a") as log:
            log.write(f"{len(images)}\n")
        return images.flatten(1) @ self.weight


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bank_files, "PART", 5)
    monkeypatch.setattr(bank_files, "EMBED_BATCH", 2)
    monkeypatch.setenv("MMD_DDM_HOME", str(tmp_path / "home"))


def image_set(tmp_path: Path, seed: int = 0) -> ImageSet:
    pixels = torch.randint(0, 256, (COUNT, 2, 3, 3), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    writer = RowWriter(tmp_path / f"store{seed}", dtype=torch.uint8, shape=(2, 3, 3), parts=1, key={})
    writer.write(0, pixels)
    return ImageSet("toys", writer.finish({}), None, mirrored=True)


def expected(images: ImageSet, space: ToySpace, mirrored: bool) -> Tensor:
    floats = images.images[:].float() / 127.5 - 1
    both = torch.cat([floats, floats.flip(-1)]) if mirrored else floats
    return both.flatten(1) @ space.weight


def make(images: ImageSet, space: ToySpace, dtype: str = "float32", mirrored: bool = True) -> Tensor:
    bank = stored_bank(images, space, dtype=dtype, mirrored=mirrored, device=CPU, collective=SingleCollective())
    return bank.features[0 : len(bank)]


@pytest.mark.parametrize("mirrored", [False, True])
def test_features_of_all_images_and_their_mirror_images(tmp_path: Path, mirrored: bool) -> None:
    images, space = image_set(tmp_path), ToySpace(tmp_path / CALLS)
    assert torch.allclose(make(images, space, mirrored=mirrored), expected(images, space, mirrored), rtol=1e-6)


def test_half_precision_takes_half_and_rounds(tmp_path: Path) -> None:
    images, space = image_set(tmp_path), ToySpace(tmp_path / CALLS)
    stored = make(images, space, dtype="float16")
    assert stored.dtype == torch.float16
    assert torch.equal(stored, expected(images, space, True).half())


def test_computed_once_and_shared_between_mirrored_and_not(tmp_path: Path) -> None:
    images, log = image_set(tmp_path), tmp_path / CALLS
    make(images, ToySpace(log))
    seen = [int(line) for line in log.read_text().split()]
    assert sum(seen) == 2 * COUNT
    make(images, ToySpace(log))
    make(images, ToySpace(log), mirrored=False)
    assert len(log.read_text().split()) == len(seen)


def test_another_network_other_images_or_precision_make_another_bank(tmp_path: Path) -> None:
    images, log = image_set(tmp_path), tmp_path / CALLS
    folders = {
        bank_folder(each, ToySpace(log, identity), dtype=dtype, mirrored=flip)
        for each in (images, image_set(tmp_path, seed=1))
        for identity in "ab"
        for dtype in ("float16", "float32")
        for flip in (False, True)
    }
    assert len(folders) == 16


def test_a_bank_of_other_images_is_refused(tmp_path: Path) -> None:
    images, other, log = image_set(tmp_path), image_set(tmp_path, seed=1), tmp_path / CALLS
    make(images, ToySpace(log), mirrored=False)
    mine = bank_folder(images, ToySpace(log), dtype="float32", mirrored=False)
    mine.rename(bank_folder(other, ToySpace(log), dtype="float32", mirrored=False))
    with pytest.raises(UserError, match="other images"):
        make(other, ToySpace(log), mirrored=False)


def _child(images: ImageSet, log: Path, fail_after: int | None) -> None:
    bank_files.PART, bank_files.EMBED_BATCH = 5, 2
    make(images, ToySpace(log, fail_after=fail_after), mirrored=False)


def test_goes_on_after_a_kill(tmp_path: Path) -> None:
    images, log = image_set(tmp_path), tmp_path / CALLS
    child = multiprocessing.get_context("spawn").Process(target=_child, args=(images, log, 7))
    child.start()
    child.join()
    assert child.exitcode == 9
    assert log.read_text().split() == ["2", "2", "1"] * 2 + ["2"]  # two parts, and a call of the third was lost
    space = ToySpace(log)
    assert torch.allclose(make(images, space, mirrored=False), expected(images, space, False), rtol=1e-6)
    assert sum(int(n) for n in log.read_text().split()) == COUNT + 2


def test_processes_divide_the_work(tmp_path: Path) -> None:
    images, log = image_set(tmp_path), tmp_path / CALLS
    children = [multiprocessing.get_context("spawn").Process(target=_child, args=(images, log, None)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert sum(int(n) for n in log.read_text().split()) == COUNT
    space = ToySpace(log)
    assert torch.allclose(make(images, space, mirrored=False), expected(images, space, False), rtol=1e-6)
    assert sum(int(n) for n in log.read_text().split()) == COUNT


def test_a_disk_that_is_full_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, space = image_set(tmp_path), ToySpace(tmp_path / CALLS)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RowWriter, "write", full)
    with pytest.raises(UserError, match="No space left"):
        make(images, space)
    assert not bank_folder(images, space, dtype="float32", mirrored=False).exists()


def test_what_cannot_be_kept_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, space = image_set(tmp_path), ToySpace(tmp_path / CALLS)
    bank = stored_bank(images, space, dtype="float32", mirrored=False, device=CPU, collective=SingleCollective())
    assert bank.memory is not None
    (bank.memory / "damaged.safetensors").write_bytes(b"\0" * 4)
    assert bank.recall("damaged") is None

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    like, expect = torch.empty(0, 5), float(within_mean(expected(images, space, False), Cubic()))
    assert float(bank.within_mean(Cubic(), SingleCollective(), like)) == pytest.approx(expect, rel=1e-6)
    assert bank.recall("within") is None


def test_the_mean_among_the_real_is_kept_for_each_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, space = image_set(tmp_path), ToySpace(tmp_path / CALLS)
    real, like = expected(images, space, True), torch.empty(0, 5)

    def mean(kernel: Cubic | Gaussian) -> float:
        bank = stored_bank(images, space, dtype="float32", mirrored=True, device=CPU, collective=SingleCollective())
        return float(bank.within_mean(kernel, SingleCollective(), like))

    kernels = (Cubic(), Gaussian(1.0), Gaussian(2.0))
    found = [mean(kernel) for kernel in kernels]
    assert found == pytest.approx([float(within_mean(real, kernel)) for kernel in kernels], rel=1e-6)
    monkeypatch.setattr("mmd_ddm.discrepancy.bank.within_moments", None)  # not called again
    assert [mean(kernel) for kernel in kernels] == found
