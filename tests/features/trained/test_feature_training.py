import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.images import ImageSet
from mmd_ddm.data.load import load_dataset
from mmd_ddm.errors import DivergenceError, UserError
from mmd_ddm.features.trained.classifier import accuracy
from mmd_ddm.features.trained.contrastive import contrastive_loss
from mmd_ddm.features.trained.load import load_trained
from mmd_ddm.features.trained.muon import Muon
from mmd_ddm.features.trained.training import train_feature_space
from mmd_ddm.features.trained.weights import weights_file
from mmd_ddm.training_state import Keeper


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_dataset(dataset_spec("digits"))


@pytest.fixture(scope="module")
def colourful() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (40, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return ImageSet("colourful", images, torch.arange(40) % 3, mirrored=True)


def test_contrastive_loss_of_equal_projections_is_that_of_a_guess() -> None:
    same = torch.ones(4, 3)
    assert contrastive_loss(same, same).item() == pytest.approx(math.log(7), rel=1e-6)


def test_contrastive_loss_by_hand() -> None:
    # tau = 0.1. Rows: a1 = (1,0), b1 = (0,2) | a2 = (3,0), b2 = (1,1): the lengths don't count
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    right, half = math.exp(10), math.exp(10 / math.sqrt(2))
    a1 = -math.log(right / (1 + right + half))  # others: b1 (cos 0), a2 (cos 1), b2 (cos 1/sqrt 2)
    b1 = -math.log(half / (1 + 1 + half))
    b2 = -math.log(half / (half + half + half))
    assert contrastive_loss(first, second).item() == pytest.approx((2 * a1 + b1 + b2) / 4, rel=1e-5)


def test_accuracy_counts_the_largest_logit() -> None:
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.3], [0.2, 0.4]])
    assert accuracy(logits, nn.Identity(), torch.tensor([1, 1, 1])) == pytest.approx(2 / 3)


def test_classifier_learns_digits_it_has_not_seen(digits: ImageSet, tmp_path: Path) -> None:
    figures = train_feature_space(digits, "classifier", tmp_path, updates=100)
    assert figures["accuracy"] > 0.8  # chance: 0.1
    assert figures["loss"] < math.log(10)
    space = load_trained(weights_file(tmp_path, "digits", "classifier"))
    mean_squares = space(digits.floats()).double().square().mean(0)
    torch.testing.assert_close(mean_squares, torch.ones(96).double(), rtol=0, atol=1e-5)


def test_accuracy_is_that_of_images_not_trained_on(tmp_path: Path) -> None:
    # labels that have nothing to do with the images can be learned by heart only
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (100, 1, 8, 8), generator=generator, dtype=torch.uint8)
    noise = ImageSet("noise", images, torch.randint(10, (100,), generator=generator), False)
    figures = train_feature_space(noise, "classifier", tmp_path, updates=300, batch=80)
    assert figures["loss"] < 0.5
    assert figures["accuracy"] < 0.5  # of 20 guesses with chance 0.1, 10 are right with probability 7e-6


def test_contrastive_tells_images_apart_without_labels(digits: ImageSet, tmp_path: Path) -> None:
    unlabelled = ImageSet("digits", digits.images, None, digits.mirrored)
    with_labels, without = tmp_path / "with", tmp_path / "without"
    figures = train_feature_space(digits, "contrastive", with_labels, updates=40, batch=64)
    assert set(figures) == {"loss"}
    assert figures["loss"] < math.log(2 * 64 - 1)  # a guess
    train_feature_space(unlabelled, "contrastive", without, updates=40, batch=64)
    first, second = (load_file(weights_file(each, "digits", "contrastive")) for each in (with_labels, without))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["classifier", "contrastive"])
def test_same_seed_same_file(name: str, digits: ImageSet, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    files = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(7)  # the caller's generator has no say
        train_feature_space(digits, name, tmp_path / folder, updates=3, batch=16, seed=seed)
        files.append(weights_file(tmp_path / folder, "digits", name).read_bytes())
    assert files[0] == files[1]
    assert files[0] != files[2]
    torch.random.set_rng_state(before)
    train_feature_space(digits, name, tmp_path / "d", updates=1, batch=16)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["classifier", "contrastive"])
def test_an_interrupted_training_ends_in_the_same_file(
    name: str, colourful: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"updates": 4, "batch": 8, "width": 8, "dim": 10}
    train_feature_space(colourful, name, tmp_path / "whole", **small)
    monkeypatch.setattr(Keeper.__init__, "__defaults__", (0.0,))  # the state is kept after every update
    step, steps = Muon.step, iter(range(3))

    def interrupted(self: Muon) -> None:
        if next(steps) == 2:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Muon, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_feature_space(colourful, name, tmp_path / "cut", **small)
    train_feature_space(colourful, name, tmp_path / "cut", **small)
    assert next(steps, None) is None
    whole, cut = (weights_file(tmp_path / each, "colourful", name) for each in ("whole", "cut"))
    assert cut.read_bytes() == whole.read_bytes()
    assert list(cut.parent.iterdir()) == [cut]


@pytest.mark.parametrize("name", ["classifier", "contrastive"])
def test_other_images_other_network(name: str, colourful: ImageSet, tmp_path: Path) -> None:
    train_feature_space(colourful, name, tmp_path, updates=2, batch=8, width=8, dim=10)
    space = load_trained(weights_file(tmp_path, "colourful", name))
    assert space.image_shape == (3, 32, 32)
    assert space.dim == 10
    mean_squares = space(colourful.floats()).double().square().mean(0)
    torch.testing.assert_close(mean_squares, torch.ones(10).double(), rtol=0, atol=1e-5)
    layers = load_trained(weights_file(tmp_path, "colourful", f"{name}_layers"), f"{name}_layers")
    assert layers.name == f"{name}_layers"
    assert layers.dim == 4 * (8 + 16 + 16 + 10)
    variances = layers(colourful.floats()).double().var(0, correction=0).split([32, 64, 64, 40])
    # each layer counts alike: its variances sum up to a quarter of the number of features
    for layer in variances:
        assert layer.sum().item() == pytest.approx(layers.dim / 4, rel=0.02)  # one of small variance counts less


def test_weights_of_pictures_fit_into_half_precision(colourful: ImageSet, tmp_path: Path) -> None:
    train_feature_space(colourful, "classifier", tmp_path, updates=1, batch=8)
    file = weights_file(tmp_path, "colourful", "classifier")
    assert {str(value.dtype) for key, value in load_file(file).items() if "scale" not in key} == {"torch.float16"}
    assert file.stat().st_size < 2_000_000
    assert {value.dtype for value in load_trained(file).state_dict().values()} == {torch.float32}


def test_accuracy_on_images_that_are_given(colourful: ImageSet, tmp_path: Path) -> None:
    """Classes are bright and dark; the test images have theirs the wrong way round."""
    labels = torch.arange(64) % 2
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(60, (64, 3, 16, 16), generator=generator)
    bright = ImageSet("bright", (noise + 180 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels, False)
    test = ImageSet("bright", bright.images, 1 - labels, False)
    for name in ("classifier", "contrastive"):
        small = {"updates": 30, "batch": 16, "width": 8, "dim": 8}
        figures = train_feature_space(bright, name, tmp_path, test=test, **small)
        assert figures["accuracy"] < 0.1
        assert figures["classes"] == 2
    with pytest.raises(UserError, match=r"\(3, 32, 32\)"):
        train_feature_space(bright, "classifier", tmp_path, test=colourful)
    with pytest.raises(UserError, match="no labels"):
        train_feature_space(bright, "classifier", tmp_path, test=ImageSet("bare", bright.images, None, False))


def test_mirror_images_are_shown_where_asked_for(colourful: ImageSet, tmp_path: Path) -> None:
    still = ImageSet("still", colourful.images, colourful.labels, mirrored=False)
    for folder, mirror in (("a", False), ("b", True)):
        train_feature_space(still, "classifier", tmp_path / folder, updates=1, batch=8, width=8, dim=8, mirror=mirror)
    first, second = (weights_file(tmp_path / each, "still", "classifier").read_bytes() for each in ("a", "b"))
    assert first != second


def test_wrong_input_is_refused(digits: ImageSet, colourful: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'inception'.*classifier, contrastive"):
        train_feature_space(digits, "inception", tmp_path)
    unlabelled = ImageSet("bare", digits.images, None, False)
    with pytest.raises(UserError, match=r"'bare' has no labels.*'contrastive'"):
        train_feature_space(unlabelled, "classifier", tmp_path)
    with pytest.raises(UserError, match="8 x 4"):
        train_feature_space(ImageSet("half", digits.images[..., 2:6], None, False), "contrastive", tmp_path)
    for setting in ({"updates": 0}, {"batch": 1}, {"learning_rate": 0.0}, {"ema": 1.0}, {"width": 12}):
        with pytest.raises(UserError, match=next(iter(setting))):
            train_feature_space(digits, "contrastive", tmp_path, **setting)
    assert not list(tmp_path.iterdir())


def test_divergence_is_not_saved(digits: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="learning rate"):
        train_feature_space(digits, "classifier", tmp_path, updates=20, batch=16, learning_rate=1e30)
    assert not list(tmp_path.iterdir())


class Stored:
    """A stand-in for a large set whose images stay on disk: it remembers how many were asked for at once."""

    name, mirrored, fingerprint, image_shape = "stored", True, "0" * 64, (3, 16, 16)

    def __init__(self, count: int, file: Path) -> None:
        size = count * 3 * 16 * 16
        self.images = torch.from_file(str(file), shared=True, size=size, dtype=torch.uint8).view(count, 3, 16, 16)
        self.images[::7] = 200
        self.images[1::7, :, :8] = 90
        self.labels = torch.arange(count) % 7 % 3
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.images)

    def floats(self, indices: torch.Tensor | slice) -> torch.Tensor:
        found = self.images[indices].to(torch.float32) / 127.5 - 1
        self.asked.append(len(found))
        return found


@pytest.mark.parametrize(
    "count", [pytest.param(5200, id="small"), pytest.param(50_000, id="cifar10", marks=pytest.mark.slow)]
)
def test_images_on_disk_are_read_in_parts(count: int, tmp_path: Path) -> None:
    stored = Stored(count, tmp_path / "images")
    figures = train_feature_space(stored, "classifier", tmp_path, updates=3, batch=8, width=8, dim=10)  # type: ignore[arg-type]
    assert max(stored.asked) == 1024
    # batches; statistics, scale of the layers and of the features, each on 8192 or all; the accuracy
    assert sum(stored.asked) == 3 * 8 + 3 * min(8192, count) + count // 10
    space = load_trained(weights_file(tmp_path, "stored", "classifier"))
    assert 0 <= figures["accuracy"] <= 1
    sample = stored.floats(slice(0, 700))
    mean_squares = space(sample).double().square().mean(0)
    torch.testing.assert_close(mean_squares, torch.ones(10).double(), rtol=0, atol=0.02)  # 700 is a multiple of 7


@pytest.mark.parametrize("name", ["classifier", "contrastive"])
def test_colour_images_of_64(name: str, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (12, 3, 64, 64), generator=generator, dtype=torch.uint8)
    train_feature_space(ImageSet("large", images, torch.arange(12) % 2, True), name, tmp_path, updates=1, batch=4)
    space = load_trained(weights_file(tmp_path, "large", name))
    assert space.image_shape == (3, 64, 64)
    assert space(torch.zeros(1, 3, 64, 64)).shape == (1, 192)
