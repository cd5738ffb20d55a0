"""Trained EDM and EDM2 networks from NVlabs' pickles to finetuned pipelines, by the commands that a user gives."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

import mmd_ddm
from mmd_ddm.cli.main import main
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.evaluation.metrics import Metric, kids
from mmd_ddm.experiment.scoring.scored_model import BASE, FINETUNED, Scored, read_scored
from mmd_ddm.pretrained.formats.edm_pickle import read_network, tensors_of
from mmd_ddm.pretrained.load import load_denoiser
from tests.pretrained.originals.edm import edm_denoiser
from tests.pretrained.originals.edm2 import edm2_denoiser
from tests.pretrained.originals.edm_sampler import Denoise, euler, karras
from tests.pretrained.originals.structure import Weights
from tests.trained_edm import EDM, EDM2, write_trained_edm, write_trained_edm2

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("remote_code")]


def finetuned(write: Callable[[Path, int], Path], updates: int, folder: Path, *options: str) -> Path:
    """A base model after fewer updates than the README's 2500, imported and finetuned with fewer than its 120."""
    base = str(folder / "base")
    assert main(["import", str(write(folder / "base.pkl", updates)), "--output", base]) == 0
    short = ["--updates", "50", "--scorings", "1", "--score-images", "100", *options]
    assert main(["finetune", "--base-model", base, "--dataset", "digits", "--output", str(folder / "run"), *short]) == 0
    return folder / "run/model"


def scores(model: Path, *options: str) -> dict[str, Scored]:
    """Of the finetuned and the base model with 5 evaluations, on noise that no state was chosen by."""
    file = model.parent / "scores.json"
    asked = ["--model", str(model), "--images", "1000", "--seed", "1", "--json", str(file), *options]
    assert main(["evaluate", *asked]) == 0
    return {each.model.role: each for each in read_scored(file) if each.model is not None and each.nfe == 5}


def is_below(now: Metric, before: Metric) -> bool:
    """By more than twice the standard error of the difference: of 40 that are equal one would seem to be."""
    assert now.stderr is not None
    assert before.stderr is not None
    return before.value - now.value > 2 * math.hypot(now.stderr, before.stderr)


def mean_of_classes(scored: Scored, space: str) -> Metric:
    """The mean KID of a class, whose images are drawn independently of the others'."""
    found = [kids(each)[space] for each in scored.by_class]
    error = math.hypot(*(each.stderr or math.nan for each in found)) / len(found)
    return Metric("kid", statistics.fmean(each.value for each in found), space, stderr=error)


@torch.no_grad()
def check_import(base: Path, denoise: Denoise, labels: Tensor | None = None) -> None:
    """The authors' 35 evaluations of the network that the file holds, restated, and of ours give the same images."""
    denoiser, levels = load_denoiser(base).double(), karras(18)
    noise = torch.randn(1, 4, 1, 8, 8, dtype=torch.float64)
    chain = make_chain(denoiser.schedule, sampler="heun-2", steps=35, schedule="karras")
    expected = euler(denoise, noise[0] * (1 + levels[0] ** 2).sqrt(), levels, is_heun=True)
    # the network's own table of levels is in float32
    assert float((chain.sample(denoiser, noise, labels) - expected).abs().max() / expected.std()) < 1e-4


def weights_in(file: Path) -> Weights:
    return {name: value.double() for name, value in tensors_of(read_network(file)).items()}


def check_export(model: Path, **labels: list[int]) -> None:
    pipeline = DiffusionPipeline.from_pretrained(model, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    count = labels or {"batch_size": 2}
    made = pipeline(**count, generator=torch.Generator().manual_seed(5), num_inference_steps=5, output_type="np").images
    theirs = torch.from_numpy(made).permute(0, 3, 1, 2) * 2 - 1
    # diffusers' alpha_bar is in float32: to 1e-6 where little noise is left, carried through the chain
    torch.testing.assert_close(mmd_ddm.sample(model, 2, seed=5, **labels).clamp(-1, 1), theirs, rtol=0, atol=2e-4)


def test_edm(tmp_path: Path) -> None:
    model = finetuned(write_trained_edm, 400, tmp_path)
    check_import(tmp_path / "base", edm_denoiser(EDM, weights_in(tmp_path / "base.pkl")))
    check_export(model)
    found = scores(model)
    for space, after in kids(found[FINETUNED].metrics).items():
        assert is_below(after, kids(found[BASE].metrics)[space]), space


def test_edm2_with_classes(tmp_path: Path) -> None:
    model = finetuned(write_trained_edm2, 700, tmp_path, "--learning-rate", "2e-3")
    labels = torch.tensor([3, 7, 0, 9])
    denoise, told = edm2_denoiser(EDM2, weights_in(tmp_path / "base.pkl")), torch.eye(10, dtype=torch.float64)[labels]
    check_import(tmp_path / "base", lambda x, sigma: denoise(x, sigma, told), labels)
    check_export(model, class_labels=[3, 7])
    found = scores(model, "--per-class")
    after, before = found[FINETUNED], found[BASE]
    # not held out: there more evaluations make this base model's classes worse too, it has had so few updates
    assert is_below(kids(after.metrics)["contrastive"], kids(before.metrics)["contrastive"])
    assert is_below(mean_of_classes(after, "contrastive"), mean_of_classes(before, "contrastive"))
