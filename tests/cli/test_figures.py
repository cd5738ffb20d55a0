"""The command that draws a model's figures: what is on them is what the models make, and the numbers are right."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from scipy.stats import mannwhitneyu
from torch import Tensor

from mmd_ddm.cli import figures
from mmd_ddm.data.catalogue import dataset_spec
from mmd_ddm.data.load import load_dataset
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.evaluator import from_uint8, to_uint8
from mmd_ddm.evaluation.figures.labelled_sheet import LabelledSheet
from mmd_ddm.experiment.inference import drawing
from mmd_ddm.experiment.inference.drawing import NEAREST, PAIRS, SHOWN
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.tracking import tracker as tracking
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.pretrained.configs import scheduler_config
from mmd_ddm.pretrained.export import save_pipeline
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import SHIPPED

SEED, IMAGES, STEPS, LARGE = 5, 20, 3, 6
COLUMNS = 15
BASE = SHIPPED / "digits"


def execute(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    figures.add_options(parser)
    figures.execute(parser.parse_args([str(each) for each in arguments]))


class Run:
    """A run of the command, with the sheets that it has written."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder, self.sheets = folder, {}
        save = LabelledSheet.save

        def spy(sheet: LabelledSheet, path: Path) -> Path:
            self.sheets[path.stem] = sheet
            return save(sheet, path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LabelledSheet, "save", spy)
            execute(*arguments, "--images", IMAGES, "--seed", SEED, "--output", folder)
        self.told: dict[str, Any] = json.loads((folder / "figures.json").read_text())

    def tile(self, name: str, row: int, column: int) -> Tensor:
        """(8, 8) grey levels of the file."""
        sheet = self.sheets[name]
        with Image.open(self.folder / f"{name}.png") as picture:
            tile = picture.convert("RGB").crop(sheet.box(row, column))
        pixels = torch.frombuffer(bytearray(tile.tobytes()), dtype=torch.uint8).view(tile.height, tile.width, 3)
        assert torch.equal(pixels[..., 0], pixels[..., 1])
        assert torch.equal(pixels[..., 0], pixels[..., 2])
        return pixels[:: sheet.factor, :: sheet.factor, 0].long()


def noise(count: int) -> Tensor:
    return NoiseSource(SEED, "evaluation").draw(0, range(count), 1, (1, 8, 8))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with other weights, as if finetuned for timesteps that only a respaced process has."""
    denoiser = load_denoiser(BASE)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in denoiser.network.conv_out.parameters():
            weight *= 1 + 0.1 * torch.rand(weight.shape, generator=generator)
    config = preset("best", "digits").replace(steps=STEPS, schedule="quadratic")
    chain = make_chain(denoiser.schedule, steps=STEPS, schedule="quadratic")
    return save_pipeline(
        denoiser, scheduler_config(BASE), tmp_path_factory.mktemp("run") / "model",
        sampler="ddim", chain=chain, eta=0.0, variance="model", record={"config": config.flat()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("figures"), "--model", model, "--large", LARGE)


def of_base(count: int, steps: int, schedule: str) -> Tensor:
    denoiser = load_denoiser(BASE)
    with torch.no_grad():
        return make_chain(denoiser.schedule, steps=steps, schedule=schedule).sample(denoiser, noise(count))


def of_finetuned(model: Path, count: int) -> Tensor:
    """As diffusers alone makes them, in [-1, 1]."""
    from diffusers import DDIMPipeline

    pipeline = DDIMPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    generators = [NoiseSource(SEED, "evaluation").generator(0, i) for i in range(count)]
    made = pipeline(batch_size=count, generator=generators, num_inference_steps=STEPS, output_type="np").images
    return 2 * torch.from_numpy(made).movedim(3, 1) - 1


def test_a_column_is_one_noise_through_each_model(run: Run, model: Path) -> None:
    expected = [of_base(COLUMNS, STEPS, "quadratic"), of_finetuned(model, COLUMNS), of_base(COLUMNS, LARGE, "linear")]
    assert len(run.sheets["samples"].lines) == 4
    for row, images in enumerate(expected):
        for column, pixels in enumerate(to_uint8(images)[:, 0].long()):
            # another order of operations may round another way
            assert int((run.tile("samples", row, column) - pixels).abs().max()) <= 1
    real = load_dataset(dataset_spec("digits")).images[:, 0].long()
    assert all(bool((real == run.tile("samples", 3, column)).all((1, 2)).any()) for column in range(COLUMNS))


def test_interpolations_end_at_the_samples(run: Run) -> None:
    last = len(run.sheets["interpolation"].lines[0].images) - 1
    for pair in range(PAIRS):
        for which in (0, 1):  # base, finetuned
            for column, end in ((0, 2 * pair), (last, 2 * pair + 1)):
                found = run.tile("interpolation", 2 * pair + which, column)
                assert int((found - run.tile("samples", which, end)).abs().max()) <= 1


def test_neighbours_and_numbers_are_those_of_a_direct_search(run: Run, model: Path) -> None:
    assert run.told["features"] == "classifier"  # preset best trains on the other one
    assert "held out" in run.told["told"]
    real, space = load_dataset(dataset_spec("digits")).floats(), load_feature_space("classifier", "digits")
    found = {}
    for name, images in (
        ("base_3", of_base(IMAGES, STEPS, "quadratic")),
        ("finetuned_3", of_finetuned(model, IMAGES)),
        ("base_6", of_base(IMAGES, LARGE, "linear")),
    ):
        found[name] = torch.cdist(space(from_uint8(to_uint8(images))).double(), space(real).double())
    own = torch.cdist(space(real).double(), space(real).double()).fill_diagonal_(torch.inf).min(1).values
    assert run.told["real"] == {"images": len(real), "median": pytest.approx(float(own.median()), rel=1e-5)}
    for name, distances in found.items():
        nearest, number = distances.min(1).values, run.told["nn_auc"][name]
        statistic = mannwhitneyu(own.numpy(), nearest.numpy()).statistic
        # a grey level that rounds another way moves a distance by about a hundredth of it, past some real images' own
        assert number["auc"] == pytest.approx(statistic / (len(own) * IMAGES), abs=0.005)
        assert number["median_ratio"] == pytest.approx(float(nearest.quantile(0.5) / own.quantile(0.5)), rel=0.01)
    pixels = to_uint8(real)[:, 0].long()
    for i in range(SHOWN):
        for first, name in ((0, "base_3"), (1 + NEAREST, "finetuned_3")):
            assert torch.equal(run.tile("neighbours", i, first), run.tile("samples", int(first > 0), i))
            shown = [run.tile("neighbours", i, first + 1 + j) for j in range(NEAREST)]
            captions = run.sheets["neighbours"].lines[i].captions[first + 1 : first + 1 + NEAREST]
            ordered = found[name][i].sort()
            assert [float(text) for text in captions] == pytest.approx(ordered.values[:NEAREST].tolist(), abs=0.02)
            assert torch.equal(shown[0], pixels[ordered.indices[0]])


def test_a_model_of_which_nothing_is_known_is_shown_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, "--model", "digits", "--steps", 2, "--large", 4, "--features", "contrastive")
    assert [line.label for line in run.sheets["samples"].lines] == [
        "model\n2 evaluations", "model\n4 evaluations", "real images",
    ]  # fmt: skip
    assert len(run.sheets["neighbours"].lines[0].images) == 1 + NEAREST
    assert len(run.sheets["interpolation"].lines) == PAIRS
    assert list(run.told["nn_auc"]) == ["model_2", "model_4"]
    assert run.told["base"] is None
    assert "base model" not in run.told["told"]


class Store:
    """Takes what a tracker is given."""

    def __init__(self, experiment: str) -> None:
        self.experiment, self.unsent = experiment, []
        self.closed: tuple[Any, ...] = ()
        Store.last = self

    def check(self) -> None:
        self.checked = True

    def follow(self, folder: Path, **settings: Any) -> Any:
        self.settings, store = settings, self

        class Followed:
            def close(self, *arguments: Any, **named: Any) -> None:
                store.closed = (arguments, named, [file.is_file() for file, _ in named.get("artifacts", ())])

        return Followed()

    def close(self) -> list[Path]:
        return self.unsent


def test_figures_and_numbers_are_recorded(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "Tracker", Store)
    run = Run(tmp_path, "--model", model, "--large", 0, "--base", "none", "--mlflow")
    store = Store.last
    assert store.experiment == "mmd-ddm digits"
    assert store.settings["name"] == f"figures of {model.parent.name}"
    assert store.settings["params"]["features"] == "classifier"
    (status,), named, there = store.closed
    assert status == "FINISHED"
    assert there == [True] * 5
    probability = run.told["nn_auc"]["finetuned_3"]["auc"]
    assert named["metrics"] == [("finetuned_nearer_than_real", probability, STEPS)]
    monkeypatch.setattr(drawing, "draw", lambda *each: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Run(tmp_path, "--model", model, "--mlflow")
    assert Store.last.closed[0][0] == "FAILED"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--images", SHOWN - 1], "--images"),
        (["--large", -1], "--large"),
        (["--features", "classifier+contrastive"], "one space"),
        (["--features", "nosuch"], "nosuch"),
        (["--base", "nosuch"], "nosuch"),
        (["--model", "nosuch"], "nosuch"),
        (["--seed", -1], "seed"),
        (["--steps", 0], "0"),
        (["--dataset", "cifar10", "--base", "none"], "cifar10"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_drawn(arguments: list[object], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        execute("--output", tmp_path / "new", *arguments)
    assert not (tmp_path / "new").exists()
