"""Labels from a folder with a folder a class, and from a column of Parquet files, are those of built-in data."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from mmd_ddm.cli.main import main
from mmd_ddm.data.images import ImageSet
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.classes import class_counts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.files import HOME
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from mmd_ddm.pretrained.pretrain import pretrain

KINDS = ("folder", "parquet")


def png(image: Tensor) -> bytes:
    """A file without losses of an image (C, H, W) of bytes."""
    array = image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(content := io.BytesIO(), "png")
    return content.getvalue()


def write_folder(images: Tensor, labels: Tensor, folder: Path) -> Path:
    for row, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        file = folder / str(label) / f"{row:05}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    return folder


def write_parquet(images: Tensor, labels: Sequence[int], file: Path) -> Path:
    """As the Hugging Face hub has them."""
    rows = [{"bytes": png(image), "path": None} for image in images]
    pq.write_table(pa.table({"image": rows, "label": list(labels)}), file)
    return file


@pytest.fixture(scope="module")
def built_in() -> Config:
    few = {"updates": 3, "batch": 32, "scorings": 1, "score_images": 32, "base_model": "digits_conditional"}
    return preset("best", "digits").replace(**few)


@pytest.fixture(scope="module")
def digits(built_in: Config) -> ImageSet:
    return Parts(built_in).images


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(home))


@pytest.fixture(scope="module", params=KINDS)
def own(request: pytest.FixtureRequest, digits: ImageSet, built_in: Config, home: Path) -> Config:
    """The same images, as a user has them."""
    assert digits.labels is not None
    place = home.parent / f"own {request.param}"
    if request.param == "folder":
        write_folder(digits.images[:], digits.labels, place)
    else:
        write_parquet(digits.images[:], digits.labels.tolist(), place.with_suffix(".parquet"))
        place = place.with_suffix(".parquet")
    return built_in.replace(data=str(place))


def losses(config: Config, folder: Path) -> list[float]:
    found: list[float] = []
    obtain(config)
    finetune(config, folder, on_update=lambda record: found.append(record.loss))
    return found


@pytest.fixture(scope="module")
def expected(built_in: Config, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(built_in, tmp_path_factory.mktemp("runs") / "run")


def test_labels_and_losses_are_those_of_the_built_in_digits(
    own: Config, digits: ImageSet, expected: list[float], tmp_path: Path
) -> None:
    obtain(own)
    images = Parts(own).images
    assert class_counts(10, images) == class_counts(10, digits)
    assert images.labels is not None
    assert digits.labels is not None
    order = slice(None) if str(own.data).endswith(".parquet") else digits.labels.argsort(stable=True)
    assert torch.equal(images.labels, digits.labels[order])
    assert torch.equal(images.images[:], digits.images[:][order])
    # sums over real images in another order: rounding of float32 in terms of order one, carried through three updates
    assert losses(own, tmp_path / "run") == pytest.approx(
        expected, rel=0, abs=0 if own.data.endswith("parquet") else 1e-5
    )


def test_conditional_training_sees_the_same_labels(own: Config, digits: ImageSet, tmp_path: Path) -> None:
    obtain(own)
    few = {"updates": 2, "batch": 16, "channels": (8, 16), "conditional": True}
    weights = []
    for name, images in (("own", Parts(own).images), ("built in", digits)):
        loss = pretrain(images, tmp_path / name, **few)
        assert 0 < loss < 10
        weights.append(load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors"))
    assert weights[0]["class_embedding.weight"].shape[0] == 10
    same = all(torch.equal(each, weights[1][name]) for name, each in weights[0].items())
    assert same == str(own.data).endswith(".parquet")  # batches are drawn by position, which a folder's order is not


@pytest.mark.parametrize(
    ("last", "told"), [(999, None), (9, "the model has 1000 classes, but the labels of imagenet64")]
)
def test_imagenet_as_parquet(
    last: int, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the columns `image` and `label` of the hub's copy; a small network has as many classes and pixels."""
    monkeypatch.chdir(tmp_path)
    labels = [0, 1, last, 0, 1, last, 1, 1, 0, last]
    data = write_parquet(torch.randint(256, (len(labels), 3, 64, 64), dtype=torch.uint8), labels, Path("train.parquet"))
    network = UNet2DModel(
        sample_size=64, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, num_class_embeds=1000,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    write_pipeline(make_pipeline(network, DDPMScheduler()), tmp_path / "base", {})
    small = ["--features", "pixels", "--score-features", "pixels", "--updates", "2", "--batch", "6", "--steps", "2"]
    base = ["--dataset", "imagenet64", "--data", str(data), "--base-model", "base", "--score-images", "6"]
    status = main(["finetune", *base, *small, "--scorings", "1", "--output", "run"])
    if told is not None:
        assert status == 2
        assert told in capsys.readouterr().err
        return
    assert status == 0
    assert main(["sample", "--model", "run/model", "--class-labels", "999,1", "--images", "4"]) == 0
