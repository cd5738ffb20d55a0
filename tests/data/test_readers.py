import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmd_ddm.data.readers import cifar
from mmd_ddm.data.readers.open import open_source
from mmd_ddm.data.readers.source import Content
from tests.data.reading import refused
from tests.data.sources import (
    IMAGES,
    classes,
    later,
    pictures,
    png,
    write_cifar,
    write_folder,
    write_lmdb,
    write_parquet,
)

FORMS = ["folder", "parquet", "parquets", "lmdb", "hub", "cifar-bin", "cifar-bin.tar", "cifar-py", "cifar-py.tar"]


class Made:
    """A source of `IMAGES` known images, or 10 of them for CIFAR, in one of the forms."""

    def __init__(self, form: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        number = 10 if form.startswith("cifar") else IMAGES
        self.images, labels = pictures(number), classes(number)
        contents = [png(each) for each in self.images]
        self.labels: list[int] | None = labels
        self.spec = ""
        if form == "folder":
            self.spec = str(write_folder(root / "images", self.images))
            self.labels = [i * 3 // IMAGES for i in range(IMAGES)]
        elif form in ("parquet", "hub"):
            file = write_parquet(root / "plain" / "train-0.parquet", contents, labels)
            self.spec = str(file) if form == "parquet" else "hub:someone/images@main:plain/train-*.parquet"
            write_parquet(root / "plain" / "test-0.parquet", contents[:3], labels[:3])
            monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(root))
        elif form == "parquets":
            write_parquet(root / "deep" / "b" / "0.parquet", contents[6:], labels[6:], group=2)
            write_parquet(root / "deep" / "a.parquet", contents[:6], labels[:6], group=100)
            self.spec = str(root / "deep")
        elif form == "lmdb":
            self.spec = str(write_lmdb(root / "church_lmdb", contents))
            self.labels = None
        else:
            monkeypatch.setattr(cifar, "BATCH", 2)
            self.spec = str(write_cifar(root, self.images, labels, "bin" in form, form.endswith("tar")))


@pytest.fixture(params=FORMS)
def made(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(request.param, tmp_path, monkeypatch)


def pixels(content: Content) -> np.ndarray:
    if isinstance(content, bytes):
        return np.asarray(Image.open(io.BytesIO(content))).transpose(2, 0, 1)
    return content


def test_images_and_classes_come_in_order(made: Made) -> None:
    source = open_source(made.spec)
    assert len(source) == len(made.images)
    found = list(source.read(0, len(source)))
    assert np.array_equal(np.stack([pixels(content) for content, _ in found]), made.images)
    assert [label for _, label in found] == (made.labels or [None] * len(found))
    assert source.labelled == (made.labels is not None)


def test_any_range_gives_the_same_after_a_journey_to_another_process(made: Made) -> None:
    source = open_source(made.spec)
    whole = [pixels(content).tobytes() for content, _ in source.read(0, len(source))]
    copy = pickle.loads(pickle.dumps(source))
    for start, stop in ((0, 1), (3, 9), (1, len(source)), (5, 5), (8, 10)):
        for each in (source, copy):
            assert [pixels(content).tobytes() for content, _ in each.read(start, stop)] == whole[start:stop]


def test_names_tell_images_apart(made: Made) -> None:
    source = open_source(made.spec)
    assert len({source.name(row) for row in range(len(source))}) == len(source)


def test_identity_is_stable_and_notices_a_change(made: Made) -> None:
    identity = open_source(made.spec).identity
    assert json.loads(json.dumps(identity)) == identity
    assert open_source(made.spec).identity == identity
    if made.spec.startswith("hub:"):
        return  # its revision is its state
    path = Path(made.spec)
    later(path if path.is_file() else next(each for each in sorted(path.rglob("*")) if each.is_file()))
    assert open_source(made.spec).identity != identity


def test_what_is_not_there_or_not_known(tmp_path: Path) -> None:
    refused(tmp_path / "none", "is not there")
    refused(tmp_path, "holds no image")
    (tmp_path / "empty.bin").touch()
    refused(tmp_path / "empty.bin", "is empty")
    (tmp_path / "a.bin").write_text("text")
    refused(tmp_path / "a.bin", "no known kind")
    (tmp_path / "notes.txt").write_text("text")
    refused(tmp_path, "holds no image")
