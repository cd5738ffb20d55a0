"""Class-conditional models in whole runs: losses of pairs, scores by class, chosen classes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DModel
from PIL import Image
from safetensors.torch import load_file

import mmd_ddm
from mmd_ddm.cli.main import main
from mmd_ddm.data.images import ImageSet
from mmd_ddm.diffusion.labels import LabelSource
from mmd_ddm.discrepancy.labels import beside_labels, joint_kernel
from mmd_ddm.discrepancy.mmd import mmd2
from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.by_class import FEWEST, check_images_of_classes, kid_by_class
from mmd_ddm.evaluation.measures.kid import kid
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.cost import memory_estimate
from mmd_ddm.experiment.inputs import check
from mmd_ddm.experiment.obtain import obtain
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.experiment.scoring.scored_model import read_scored
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.pretrained.configs import unet_config
from mmd_ddm.pretrained.folder import make_pipeline, write_pipeline
from tests.own_data import picture

CLASSES = 10


def write_base(folder: Path, classes: int | None = CLASSES) -> Path:
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
        num_class_embeds=classes,
    )  # fmt: skip
    return write_pipeline(make_pipeline(network, DDPMScheduler()), folder, {})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


def tiny(base: Path, **changes: object) -> Config:
    small = {"updates": 3, "batch": 12, "steps": 2, "scorings": 1, "score_images": 40, "kernel": "cubic+rbf"}
    asked = {**small, "features": "classifier", "score_features": "classifier", "base_model": str(base), **changes}
    return preset("paper", "digits").replace(**{"reference": "bank", **asked})


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model/unet/diffusion_pytorch_model.safetensors")


def test_the_loss_of_an_update_is_that_of_its_pairs(base: Path) -> None:
    """From the noise and labels of the positions, by all pairs at once."""
    parts = Parts(tiny(base))
    value, _ = UpdateGradient(parts).compute(Route("replay", 5), 4)
    labels, real = parts.images.labels, parts.objective.reference.at(0).shard
    assert labels is not None
    counts = tuple(int((labels == label).sum()) for label in range(CLASSES))
    drawn = LabelSource(0, "training", counts).draw(4, range(12))
    noise = UpdateGradient(parts).noise.draw(4, range(12), 1, (1, 8, 8))
    with torch.no_grad():
        features = parts.embed(parts.chain.sample(parts.denoiser, noise, drawn))
    assert torch.equal(real[:, -1], labels.float())
    plain = Parts(tiny(base, matching="marginal"))
    kernel = plain.objective.kernel
    expected = mmd2(beside_labels(features, drawn).double(), real.double(), joint_kernel(kernel, counts))
    # float32 on the one side: a few digits are lost in differences of means of k, which are of order one
    assert float(value) == pytest.approx(float(expected), rel=1e-3)
    found = UpdateGradient(plain).compute(Route("stored", 12), 4)[0]
    expected = mmd2(features.double(), real[:, :-1].double(), kernel)
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


def test_mirror_images_have_the_labels_of_their_images(base: Path) -> None:
    parts = Parts(tiny(base, reference="batch", batch=2 * 1797))
    whole = Parts(tiny(base)).images
    assert whole.labels is not None
    vars(parts)["images"] = ImageSet("digits", whole.images, whole.labels, mirrored=True)
    real = parts.objective.reference.at(0).shard  # all of them, in another order
    of_each = real[:, -1].long().bincount()
    assert torch.equal(of_each, 2 * whole.labels.bincount())
    space = parts.loss_space
    with torch.no_grad():
        for label in (0, 7):
            own = whole.floats((whole.labels == label).nonzero()[:, 0])
            expected = torch.cat([space(own), space(own.flip(-1))]).sum(0)
            found = real[real[:, -1] == label][:, :-1].sum(0)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_a_run_is_resumed_exported_sampled_and_scored_by_class(
    base: Path, tmp_path: Path, remote_code: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(base, learning_rate=1e-3, micro_batch=5, gradient="replay")
    whole = finetune(config, tmp_path / "whole")
    seen: list[int] = []
    stopped = finetune(
        config, tmp_path / "part", on_update=lambda record: seen.append(record.update),
        should_stop=lambda: len(seen) == 1,
    )  # fmt: skip
    assert stopped.model is None
    finetune(config, tmp_path / "part", checkpoint=tmp_path / "part/checkpoint")
    ours = weights_of(tmp_path / "whole")
    assert all(torch.equal(each, ours[name]) for name, each in weights_of(tmp_path / "part").items())
    with Image.open(tmp_path / "whole/samples_000003.png") as sheet:  # of 40 images: 10 rows of 4, 2 pixels between
        assert sheet.size == (4 * 50 - 2, 10 * 50 - 2)

    finetune(config.replace(matching="marginal"), tmp_path / "marginal")
    assert any(not torch.equal(each, ours[name]) for name, each in weights_of(tmp_path / "marginal").items())

    model = whole.model
    assert model is not None
    images = mmd_ddm.sample(model, 5, seed=3, class_labels=[7, 2])
    pipeline = DiffusionPipeline.from_pretrained(model, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline([7, 2, 7, 2, 7], num_inference_steps=2, generator=torch.manual_seed(3), output_type="pt").images
    # float32 betas of the respaced process: alpha_bar to 1e-6, carried through the chain
    torch.testing.assert_close((images / 2 + 0.5).clamp(0, 1), theirs, rtol=0, atol=2e-5)

    file = tmp_path / "scores.json"
    asked = ["evaluate", "--model", str(model), "--base", "none", "--images", "700", "--per-class", "--measures", "kid"]
    assert main([*asked, "--json", str(file)]) == 0
    said = capsys.readouterr().out
    assert "| class | finetuned 2, classifier" in said
    scored = read_scored(file)[0]
    assert len(scored.by_class) == CLASSES
    for label in (0, 9):
        assert f"\n| {label}     | {scored.by_class[label][0].value:.5f}"[:20] in said
    assert main([*asked, "--images", "300"]) == 2
    assert "generate" in capsys.readouterr().err


def test_sampled_files_say_their_classes(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "s"
    asked = ["sample", "--model", str(base), "--steps", "1", "--images", "5", "--output", str(output)]
    assert main([*asked, "--class-labels", "3,7"]) == 0
    rows = ["file,class_label", *(f"{i:06d}.png,{label}" for i, label in enumerate((3, 7, 3, 7, 3))), ""]
    assert (output / "labels.csv").read_text() == "\n".join(rows)
    with Image.open(output / "sheet.png") as sheet:  # two of each class
        assert sheet.size == (2 * 50 - 2, 2 * 50 - 2)
    assert json.loads((output / "sample.json").read_text())["class_labels"] == [3, 7]
    for wrong, told in ((["--labels", "10"], "0 to 9"), (["--class-labels", "a"], "whole numbers")):
        assert main([*asked, *wrong]) == 2
        assert told in capsys.readouterr().err
    assert main([*asked, "--model", "digits", "--class-labels", "1"]) == 2
    assert "class_labels are for class-conditional models" in capsys.readouterr().err
    assert main([*asked, "--model", "digits"]) == 0
    assert not (output / "labels.csv").exists()


def test_scores_by_class_are_those_of_its_images() -> None:
    torch.manual_seed(1)
    labels, real_labels = torch.arange(40) % 3, torch.arange(90) % 3
    features, real = {"a": torch.randn(40, 4)}, torch.randn(90, 4)

    class Side:
        features = real

    found = kid_by_class(features, labels, {"a": Side()}, real_labels)  # type: ignore[dict-item]
    for label in range(3):
        expected = kid(features["a"][labels == label], real[real_labels == label])
        assert (found[label][0].value, found[label][0].stderr) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "images", "told"),
    [
        ((500, 300, 200), 5 * FEWEST, None),
        ((500, 300, 0), 3 * FEWEST, None),
        ((500, 300, 200), 5 * FEWEST - 1, f"about {FEWEST:.0f} would be of class 2.*generate {5 * FEWEST} or more"),
        ((500, FEWEST - 1), 10**6, f"class 1 has {FEWEST - 1} real images"),
    ],
)
def test_too_few_images_of_a_class_are_refused(counts: tuple[int, ...], images: int, told: str | None) -> None:
    if told is None:
        return check_images_of_classes(counts, images)
    with pytest.raises(UserError, match=told):
        check_images_of_classes(counts, images)


def test_pairs_need_labels_and_a_loss_that_sees_them(base: Path) -> None:
    with pytest.raises(UserError, match="matching is joint, but the base model is not class-conditional"):
        check(preset("best", "digits").replace(matching="joint"))
    with pytest.raises(UserError, match="loss frechet compares means and covariances"):
        tiny(base, loss="frechet", matching="joint")
    assert not Parts(tiny(base, loss="frechet")).joint
    assert Parts(tiny(base)).joint
    assert not Parts(tiny(base, matching="marginal")).joint


def test_classes_of_model_and_images_are_the_same(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model has 7 classes, but the labels of digits are from 0 to 9"):
        obtain(tiny(write_base(tmp_path / "seven", 7)))
    for i in range(12):
        picture(tmp_path / "photos" / f"{i}.png", i)
        picture(tmp_path / "sorted" / f"class {i % CLASSES}" / f"{i}.png", i)
    flat = {"dataset": "own", "resolution": 8, "data": str(tmp_path / "photos"), "features": "pixels"}
    with pytest.raises(UserError, match="images of own have no labels"):
        obtain(tiny(base, score_features="pixels", **flat))
    obtain(tiny(base, score_features="pixels", **{**flat, "data": str(tmp_path / "sorted")}))
    with pytest.raises(UserError, match="images of own have no labels"):
        finetune(tiny(base, score_features="pixels", **flat), tmp_path / "run")


def test_memory_of_a_conditional_network_is_estimated(base: Path, tmp_path: Path) -> None:
    plain = memory_estimate(tiny(base), unet_config(write_base(tmp_path / "plain", None)), 1)
    found = memory_estimate(tiny(base), unet_config(base), 1)
    assert found.parameters == plain.parameters + CLASSES * 32  # time embeddings of four times 8 channels
    assert found.evaluation == pytest.approx(plain.evaluation, rel=0.05)


def test_figures_show_each_class_beside_real_images(base: Path, tmp_path: Path) -> None:
    asked = ["figures", "--model", str(base), "--steps", "1", "--large", "0", "--images", "20", "--features", "pixels"]
    assert main([*asked, "--output", str(tmp_path)]) == 0
    with Image.open(tmp_path / "classes.png") as sheet:
        # ten rows of two generated and four real digits of 96 pixels, 12 apart, below a title and a heading
        assert sheet.height > 10 * (96 + 12)
        assert 6 * (96 + 12) < sheet.width < 8 * (96 + 12)
    assert main([*asked, "--model", "digits", "--output", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain/classes.png").exists()
