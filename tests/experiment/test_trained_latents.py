"""Small latent models that were trained for it are finetuned, as a user does: a DiT, guided too, and an LDM."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DiTPipeline, LDMPipeline
from torch import Tensor

import mmd_ddm
from mmd_ddm.cli.main import main
from mmd_ddm.evaluation.metrics import Metric, kids
from mmd_ddm.pretrained.record import RECORD
from tests.trained_latents import train_dit, train_ldm

# the loss is in the contrastive space; in the classifier's a DiT, which is told what to draw, begins at the floor
HELD_OUT, LABELS = "pixels", [3, 7, 0, 9]

pytestmark = pytest.mark.slow  # 3 minutes of one core for each of both


@pytest.fixture(scope="module")
def dit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return train_dit(tmp_path_factory.mktemp("dit") / "base", updates=1000, autoencoder_updates=500)


def finetuned(base: Path, steps: int, folder: Path, *options: str) -> Path:
    asked = ["--base-model", str(base), "--dataset", "digits", "--steps", str(steps), "--updates", "60", *options]
    assert main(["finetune", *asked, "--scorings", "1", "--score-images", "500", "--output", str(folder)]) == 0
    return folder / "model"


def held_out_kid(model: Path, steps: int, guidance_scale: float | None = None) -> Metric:
    """Of images of noise that nothing was chosen by."""
    scored, _ = mmd_ddm.evaluate(
        model, base="none", steps=[steps], images=1000, seeds=[7], measures="kid", features=HELD_OUT,
        guidance_scale=guidance_scale,
    )  # fmt: skip
    return kids(scored.metrics)[HELD_OUT]


def assert_better(after: Metric, before: Metric) -> None:
    assert before.error is not None
    assert after.error is not None
    assert before.value - after.value > 2 * math.hypot(before.error, after.error)


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    # diffusers has alpha_bar in float32: to 1e-6, carried through chain and decoder
    torch.testing.assert_close(ours.clamp(-1, 1), theirs * 2 - 1, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("steps", "guidance_scale"), [(3, None), (6, 1.5)])
def test_dit(dit: Path, steps: int, guidance_scale: float | None, tmp_path: Path) -> None:
    guided = ["--guidance-scale", str(guidance_scale)] if guidance_scale else []
    model = finetuned(dit, steps, tmp_path / "run", *guided)
    assert json.loads((model / RECORD).read_text()).get("guidance_scale") == guidance_scale
    assert_better(held_out_kid(model, steps), held_out_kid(dit, steps, guidance_scale))
    ours = mmd_ddm.sample(model, len(LABELS), seed=5, class_labels=LABELS)
    pipeline = DiTPipeline.from_pretrained(model)
    assert pipeline.get_label_ids(["three", "seven", "zero", "nine"]) == LABELS
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        LABELS, guidance_scale=guidance_scale or 1, num_inference_steps=3, generator=torch.manual_seed(5),
        output_type="pt",
    ).images  # fmt: skip
    assert_same(ours, torch.as_tensor(made))


def test_ldm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = train_ldm(tmp_path / "base", updates=800, autoencoder_updates=500)
    model = finetuned(base, 3, tmp_path / "run")
    assert_better(held_out_kid(model, 3), held_out_kid(base, 3))
    ours = mmd_ddm.sample(model, 4, seed=5)
    pipeline = LDMPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(5)
    made = pipeline(batch_size=4, num_inference_steps=3, output_type="np").images
    assert_same(ours, torch.from_numpy(made).permute(0, 3, 1, 2))
