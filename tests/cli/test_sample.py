"""Sampling to files: the noise of diffusers in batches, the samplers to compare with, and the folder."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mmd_ddm.cli.main import main
from mmd_ddm.experiment.inference import sample as inference
from mmd_ddm.experiment.inference.sample import seeded_batches
from mmd_ddm.pretrained.locate import SHIPPED


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 5), (1, 1, 1)])  # of 64, of an odd number, of one number
@pytest.mark.parametrize("images", [1, 15, 16, 17, 32, 33, 48, 55])
def test_noise_in_batches_is_the_noise_drawn_at_once(shape, images):
    for draws in (1, 3):
        generator = torch.Generator().manual_seed(7)
        at_once = torch.stack([torch.randn((images, *shape), generator=generator) for _ in range(draws)])
        batches = list(seeded_batches(7, draws, images, shape, 16))
        assert max(batch.shape[1] for batch in batches) < 32
        assert torch.equal(torch.cat(batches, dim=1), at_once)


@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_images_of_many_batches_are_those_of_one_call_of_diffusers(eta, tmp_path, monkeypatch):
    from diffusers import DDIMPipeline

    monkeypatch.setattr(inference, "seeded_batches", lambda *where: seeded_batches(*where, 16))
    output = tmp_path / "s"
    asked = ["--images", "37", "--steps", "4", "--seed", "5", "--eta", str(eta), "--output", str(output)]
    assert main(["sample", *asked]) == 0
    pipeline = DDIMPipeline.from_pretrained(SHIPPED / "digits")
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(batch_size=37, num_inference_steps=4, eta=eta, generator=torch.manual_seed(5)).images
    for i, image in enumerate(theirs):
        ours = np.asarray(Image.open(output / f"{i:06d}.png"), dtype=int)
        # rounding of float32, in batches of another size, may move a value over the edge between two of 256 levels
        assert np.abs(ours - np.asarray(image.convert("L"), dtype=int)).max() <= 1


def test_samplers_to_compare_with_keep_their_budget(tmp_path, capsys):
    output = ["--images", "2", "--output", str(tmp_path / "s")]
    for name, steps in (("unipc", 5), ("dpm-solver++", 4), ("unipc-3", 2), ("ddim", 1)):
        assert main(["sample", "--sampler", name, "--steps", str(steps), *output]) == 0
        assert f"2 images with {steps} network evaluations each" in capsys.readouterr().out
    for wrong, said in (
        (["--sampler", "heun", "--steps", "4"], "cannot make exactly 4"),
        (["--sampler", "unipc", "--eta", "0.5"], "belongs to sampler ddim"),
        (["--sampler", "unipc", "--schedule", "quadratic"], "timesteps of its own"),
        (["--sampler", "euler"], "must be one of ddpm, ddim, pndm"),
    ):
        assert main(["sample", *wrong, *output]) == 2
        assert said in capsys.readouterr().err


def test_a_smaller_sample_replaces_a_larger_one_and_nothing_else(tmp_path, capsys):
    output = tmp_path / "s"
    asked = ["sample", "--steps", "1", "--output", str(output)]
    assert main([*asked, "--images", "5"]) == 0
    (output / "notes.txt").touch()
    assert main([*asked, "--images", "2"]) == 0
    assert {file.name for file in output.iterdir()} == {
        "000000.png", "000001.png", "sheet.png", "sample.json", "notes.txt",
    }  # fmt: skip
    assert json.loads((output / "sample.json").read_text())["images"] == 2
    (output / "000002.png").write_bytes(b"somebody's")
    assert main([*asked, "--images", "4"]) == 2
    assert "000002.png" in capsys.readouterr().err
    assert (output / "000002.png").read_bytes() == b"somebody's"
    assert (output / "000001.png").exists()


@pytest.mark.parametrize("theirs", ["000000.png", "holiday.JPG", "class 1/a.webp"])
def test_a_folder_of_other_images_is_refused_before_anything_is_read(theirs, tmp_path, capsys):
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).write_bytes(b"somebody's")
    first = theirs.partition("/")[0]
    assert main(["sample", "--model", str(tmp_path / "nowhere"), "--output", str(tmp_path)]) == 2
    assert f"holds other images ({first}" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [first]


def test_a_model_finetuned_with_ddim_is_sampled_with_ddpm_once_its_variance_is_named(tmp_path, capsys):
    shutil.copytree(SHIPPED / "digits", tmp_path / "model")
    file = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    del config["variance_type"]  # diffusers' DDIM schedulers have none
    file.write_text(json.dumps(config))
    asked = ["--model", str(tmp_path / "model"), "--sampler", "ddpm", "--steps", "2", "--images", "4"]
    for command in (["sample", *asked, "--output", str(tmp_path / "s")], ["evaluate", *asked]):
        assert main(command) == 2
        assert "choose variance fixed_small or fixed_large" in capsys.readouterr().err
        assert main([*command, "--variance", "fixed_small"]) == 0
        assert main([*command, "--variance", "none"]) == 2
        assert "variance is 'none'; it must be one of" in capsys.readouterr().err
    assert main(["sample", "--variance", "fixed_small", "--steps", "1", "--output", str(tmp_path / "s")]) == 2
    assert "belongs to sampler ddpm" in capsys.readouterr().err
