"""Latent models in whole runs, and a DiT with guidance: real images stay as they are, all that is shown is decoded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import DiTPipeline, LDMPipeline
from PIL import Image
from safetensors.torch import load_file

import mmd_ddm
from mmd_ddm.cli.main import main
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.inference.sample import choose_labels
from mmd_ddm.experiment.pace import measure_pace
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.room import check_run
from mmd_ddm.experiment.run import finetune
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.record import RECORD
from tests.latent_models import IMAGE, KL, VQ, dit_folder, latent_folder

SMALL = {"updates": 2, "batch": 6, "score_images": 8, "scorings": 1, "steps": 2, "learning_rate": 1e-3}
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize("kind", [KL, VQ])
def test_a_run_finetunes_the_network_alone(tmp_path: Path, kind: str) -> None:
    base = latent_folder(tmp_path / "base", kind)
    config = preset("best", "digits").replace(base_model=str(base), **SMALL)
    check_run(config, torch.device("cpu"), 0)
    outcome = finetune(config, tmp_path / "run")
    assert outcome.model is not None
    before, after = (load_file(folder / "unet" / WEIGHTS) for folder in (base, outcome.model))
    assert any(not torch.equal(before[name], value) for name, value in after.items())
    before, after = (load_file(folder / "vqvae" / WEIGHTS) for folder in (base, outcome.model))
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not any("decoder" in name for name in load_file(tmp_path / "run" / "checkpoint" / "state.safetensors"))
    # all that is shown is decoded: 8 x 8 pixels with a margin, and not 4 x 4
    images = mmd_ddm.sample(outcome.model, 3, seed=1)
    assert images.shape == (3, *IMAGE)
    pipeline = LDMPipeline.from_pretrained(outcome.model)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(1)
    theirs = pipeline(batch_size=3, num_inference_steps=2, output_type="np").images
    torch.testing.assert_close(
        images.clamp(-1, 1), torch.from_numpy(theirs).permute(0, 3, 1, 2) * 2 - 1, rtol=0, atol=1e-4
    )
    (sheet,) = (tmp_path / "run").glob("samples_000002.png")
    with Image.open(sheet) as opened:
        assert min(opened.size) >= IMAGE[1]


def test_real_side_is_of_real_images(tmp_path: Path) -> None:
    config = preset("best", "digits").replace(base_model=str(latent_folder(tmp_path / "base", KL)), **SMALL)
    parts, plain = Parts(config), Parts(preset("best", "digits"))
    (space,) = config.objective.spaces
    assert torch.equal(parts._bank(parts._space(space, "evaluation"), "float32", False).features[:],
                       plain._bank(plain._space(space, "evaluation"), "float32", False).features[:])  # fmt: skip
    assert measure_pace(config, 1).features > 0


def test_guided_dit(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line, as if `DiTPipeline` knew digits' ten classes in place of its thousand."""
    monkeypatch.setattr("mmd_ddm.pretrained.configs._NULL_CLASS", 10)
    base = dit_folder(tmp_path / "base", classes=10)
    options = {**SMALL, "steps": 4, "guidance_scale": 1.5, "base_model": base, "output": tmp_path / "run"}
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    main(["finetune", "--dataset", "digits", *flags])
    model = tmp_path / "run" / "model"
    record = json.loads((model / RECORD).read_text())
    assert (record["steps"], record["guidance_scale"]) == (4, 1.5)
    assert Config.from_flat(record["config"]).sampler.guidance_scale == 1.5
    capsys.readouterr()
    main(
        ["sample", "--model", str(model), "--images", "4", "--class-labels", "3", "--output", str(tmp_path / "images")]
    )
    assert "4 images with 4 network evaluations each" in capsys.readouterr().out
    guided, free = (mmd_ddm.sample(model, 2, class_labels=[3], steps=4, guidance_scale=scale) for scale in (None, 1))
    assert not torch.equal(guided, free)
    main(["evaluate", "--model", str(model), "--images", "8", "--base", "none"])
    assert "| finetuned | ddim    | 4 " in capsys.readouterr().out


def test_a_dit_that_can_be_guided_may_have_more_classes_than_the_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has to have 1000, since `DiTPipeline` takes 1000 for the label of none; digits have ten."""
    base, run = dit_folder(tmp_path / "base"), tmp_path / "run"
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps({**index, "id2label": {"3": "three", "7": "seven"}}))
    options = {**SMALL, "steps": 4, "guidance_scale": 1.5, "base_model": base, "output": run, "batch": 12}
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["finetune", "--dataset", "digits", *flags]) == 0
    assert "labels of the images are 0 to 9, and the model has 1000 classes" in caplog.text
    table = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    before, after = (load_file(folder / "transformer" / WEIGHTS)[table] for folder in (base, run / "model"))
    moved = (before != after).any(dim=1).nonzero()[:, 0].tolist()
    assert {*moved} <= {*range(10), 1000}
    assert 1000 in moved
    with Image.open(run / "samples_000002.png") as sheet:  # of 8 images: a row for each of 8 of the ten digits
        assert sheet.size == (48, 8 * 50 - 2)
    # the names of classes go along, and are those that are sampled where none are asked for
    assert DiTPipeline.from_pretrained(run / "model").get_label_ids(["seven"]) == [7]
    assert choose_labels(run / "model", None, 3).tolist() == [3, 7, 3]
    assert choose_labels(run / "model", [5], 1).tolist() == [5]
    few = dit_folder(tmp_path / "few", classes=12)  # which can't be guided, so there is no reason for more
    with pytest.raises(UserError, match="the model has 12 classes, but the labels of digits are from 0 to 9"):
        Parts(preset("best", "digits").replace(base_model=str(few))).label_source(load_denoiser(few), "any", None)
