"""An imported EDM network among the samplers: Karras' noise levels, Euler and Heun in sigma, export, finetuning."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from mmd_ddm.cli import import_model
from mmd_ddm.diffusion.chain import Chain
from mmd_ddm.diffusion.ddim import DDIM
from mmd_ddm.diffusion.multistep.methods import METHODS
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.pretrained.edm_unet import EDMUNet2DModel
from mmd_ddm.pretrained.formats import edm
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.record import sampling_settings
from tests.pretrained.exported import export, images_by_diffusers, images_of
from tests.pretrained.originals.edm import EDMStructure, edm_denoiser, edm_weights
from tests.pretrained.originals.edm_pickle import edm_content, edm_module, write_edm, write_network
from tests.pretrained.originals.edm_sampler import Denoise, euler, karras
from tests.pretrained.routes import check_routes

TINY = EDMStructure(8, (1, 2), 1, 8, (4,))
DIGITS = EDMStructure(8, (1,), 1, 8, (), channels=1)


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    import_model.add_options(parser)
    import_model.execute(parser.parse_args(arguments))


def imported(s: EDMStructure, folder: Path) -> Path:
    run(str(write_network(folder / "edm.pkl", s, edm_weights(s))), "--output", str(folder / "base"))
    return folder / "base"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return imported(TINY, tmp_path_factory.mktemp("edm"))


def test_import_tells_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = imported(TINY, tmp_path)
    told = capsys.readouterr().out
    assert "images: 3 x 8 x 8" in told
    assert "its own betas, 1000 timesteps, predicts v_prediction" in told
    record = json.loads((folder / "imported.json").read_text())
    assert (record["source"], record["format"]) == ("edm.pkl", "edm")
    assert (folder / "unet/edm_unet.py").is_file()


@pytest.mark.parametrize(
    ("preconditioning", "low", "high"),
    [("EDMPrecond", 0.002, 80.0), ("VPPrecond", 0.002, 80.0), ("VEPrecond", 0.02, 80.0)],
)
@pytest.mark.parametrize("length", [1000, 37])
def test_noise_levels_are_the_authors(
    preconditioning: str, low: float, high: float, length: int, tmp_path: Path
) -> None:
    s = replace(TINY, preconditioning=preconditioning)
    file = write_network(tmp_path / "edm.pkl", s, edm_weights(s))
    converted = edm.convert(file, length)
    schedule = NoiseSchedule.from_scheduler_config(json.loads(json.dumps(converted.scheduler)))
    found = ((1 - schedule.alpha_bar) / schedule.alpha_bar).sqrt().flip(0)
    expected = karras(length, low, high)[:-1]
    # float64: the first 1 - alpha_bar is 4e-6, to 1e-16 / 4e-6
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(converted.weights["sigmas"].flip(0).double(), expected, rtol=1e-7, atol=0)


def original(s: EDMStructure) -> Denoise:
    return edm_denoiser(s, {name: value.double() for name, value in edm_weights(s).items()})


@pytest.mark.parametrize(
    ("family", "steps"), [("EDMPrecond", 4), ("EDMPrecond", 10), ("VPPrecond", 4), ("VEPrecond", 4)]
)
@torch.no_grad()
def test_ddim_is_euler_in_sigma_and_heun_the_authors_sampler(family: str, steps: int, tmp_path: Path) -> None:
    """T - 1 = 999 is a multiple of S - 1: timesteps in even steps from end to end are the authors' levels."""
    s = replace(TINY, preconditioning=family, ncsn=family == "VEPrecond")
    denoiser = load_denoiser(imported(s, tmp_path))
    denoiser.network.double()
    order = tuple(range(0, 1000, 999 // (steps - 1)))[::-1]
    alpha_bar = denoiser.schedule.alpha_bar[list(order)]
    levels = karras(steps, 0.02 if family == "VEPrecond" else 0.002)
    noise = torch.randn(1, 2, 3, 8, 8, dtype=torch.float64)
    start = noise[0] * (1 + levels[0] ** 2).sqrt()
    # the network's own table is in float32
    found = Chain(DDIM(tuple(alpha_bar.tolist())), order).sample(denoiser, noise)
    expected = euler(original(s), start, levels)
    assert float((found - expected).abs().max() / expected.std()) < 1e-5
    solver = METHODS["heun-2"].solver(alpha_bar)
    found = Chain(solver, tuple(order[row.level] for row in solver.rows)).sample(denoiser, noise)
    assert len(solver.rows) == 2 * steps - 1
    expected = euler(original(s), start, levels, is_heun=True)
    assert float((found - expected).abs().max() / expected.std()) < 1e-5


@pytest.mark.parametrize(
    ("family", "count"), [("EDMPrecond", 18), ("EDMPrecond", 5), ("VPPrecond", 8), ("VEPrecond", 6)]
)
@torch.no_grad()
def test_the_schedule_karras_has_the_authors_levels_for_any_budget(family: str, count: int, tmp_path: Path) -> None:
    """18 is what the authors take for CIFAR-10, which is 35 evaluations of Heun's method (their Table 2)."""
    s = replace(TINY, preconditioning=family, ncsn=family == "VEPrecond")
    denoiser = load_denoiser(imported(s, tmp_path))
    denoiser.network.double()
    levels = karras(count, 0.02 if family == "VEPrecond" else 0.002)
    noise = torch.randn(1, 2, 3, 8, 8, dtype=torch.float64)
    for sampler, steps in (("ddim", count), ("heun-2", 2 * count - 1)):
        chain = make_chain(denoiser.schedule, sampler=sampler, steps=steps, schedule="karras")
        expected = euler(original(s), noise[0] * (1 + levels[0] ** 2).sqrt(), levels, is_heun=sampler == "heun-2")
        # the network's own table is in float32
        assert float((chain.sample(denoiser, noise) - expected).abs().max() / expected.std()) < 1e-5


@pytest.mark.usefixtures("remote_code")
@pytest.mark.filterwarnings("ignore:__array__")  # NumPy 2 of DPMSolverMultistepScheduler
@pytest.mark.parametrize(
    ("sampler", "steps", "schedule"),
    [("ddim", 5, "linear"), ("ddim", 4, "trailing"), ("ddim", 5, "quadratic"), ("ddim", 5, "karras"),
     ("heun-2", 5, "logsnr"), ("heun-2", 5, "karras"), ("dpm-solver++-2m", 4, "trailing")],
)  # fmt: skip
def test_diffusers_gives_our_images(sampler: str, steps: int, schedule: str, base: Path, tmp_path: Path) -> None:
    denoiser = load_denoiser(base)
    chain = make_chain(denoiser.schedule, sampler=sampler, steps=steps, schedule=schedule)
    export(denoiser, chain, sampler, base, tmp_path / "model")
    theirs = images_by_diffusers(tmp_path / "model", steps)
    (tmp_path / "model/unet/edm_unet.py").write_text("raise SystemExit('the file in the folder was run')")
    loaded = load_denoiser(tmp_path / "model")
    again = make_chain(loaded.schedule, **{"schedule": "linear", **sampling_settings(tmp_path / "model")})
    for model, how in ((denoiser, chain), (loaded, again)):
        ours = images_of(model, how)
        assert float(ours.std()) > 0.05  # not all clamped
        # diffusers' alpha_bar is in float32: to 1e-6 where little noise is left, carried through the chain
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)


def test_routes_give_one_gradient(base: Path) -> None:
    denoiser = load_denoiser(base)
    check_routes(denoiser, make_chain(denoiser.schedule, sampler="ddim", steps=3, schedule="trailing"))


@pytest.mark.usefixtures("remote_code")
def test_a_run_finetunes_and_exports_it(tmp_path: Path) -> None:
    folder = imported(DIGITS, tmp_path)
    config = preset("paper", "digits").replace(
        base_model=str(folder), updates=2, batch=4, scorings=1, score_images=8, steps=2, schedule="trailing"
    )
    outcome = finetune(config, tmp_path / "run", report=lambda metrics, checkpoint: None)
    assert outcome.model is not None
    before, after = load_denoiser(folder).network, load_denoiser(outcome.model).network
    assert not torch.equal(before.map_layer1.weight, after.map_layer1.weight)
    assert torch.equal(before.sigmas[[499, 999]], after.sigmas)
    pipeline = DiffusionPipeline.from_pretrained(outcome.model, trust_remote_code=True)
    assert type(pipeline.unet).__name__ == EDMUNet2DModel.__name__


def changed_pickle(change: Callable[[dict[str, Any]], object], file: Path) -> Path:
    content = edm_content(TINY, edm_weights(TINY))
    change(content)
    return write_edm(file, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["ema"].__dict__.update(label_dim=10), "has a label_dim of 0, and what is around it one of 10"),
        (
            lambda c: c["ema"].model._init_kwargs.update(label_dim=10),
            "has a label_dim of 10, and what is around it one of 0",
        ),
        (
            lambda c: c["ema"].__dict__.update(_kind="iDDPMPrecond"),
            "holds a iDDPMPrecond; supported are EDMPrecond, VP",
        ),
        (lambda c: c["ema"].model.__dict__.update(_kind="DhariwalUNet"), "network DhariwalUNet; only SongUNet"),
        (lambda c: c["ema"].model.__dict__.update(_init_args=(32,)), "its model was made from settings without names"),
        (lambda c: c["ema"].model._init_kwargs.update(depth=3), "has a setting depth, which is none of SongUNet's"),
        (lambda c: c["ema"].model._init_kwargs.update(encoder_type="skip"), "encoder_type is 'skip'; it must be one"),
        (lambda c: c["ema"].model._init_kwargs.update(num_blocks="4"), "num_blocks is '4'; it must be a whole number"),
        (lambda c: c["ema"].model._init_kwargs.update(num_blocks=10**9), "layers_per_block in .* is 1000000000"),
        (
            lambda c: c["ema"].model._init_kwargs.update(num_blocks=2),
            r"dec.4x4_block1.norm0.weight of shape \(24,\), and",
        ),
        (lambda c: c["ema"].model._init_kwargs.update(resample_filter=[1, 3, 3, 1]), "not what its setting resample_"),
        (lambda c: c["ema"].model._init_kwargs.update(resample_filter=[1, 2, 1]), "a filter in this|cannot be built"),
        (lambda c: c["ema"].__dict__.update(sigma_max=0.001), "noise levels from 0.002 to 0.001, which are none"),
        (lambda c: c["ema"].model._init_kwargs.update(channel_mult=(1, 2)), None),
        (lambda c: c["ema"].model.enc["8x8_conv"].__dict__.update(_init_kwargs=None, _init_args=None), None),
        (lambda c: c["ema"].model.add_module("extra", edm_module(TINY, {}).model.enc), None),  # holds nothing
        (lambda c: c["ema"].model.register_buffer("extra", torch.ones(2)), "its tensor model.extra gives extra of"),
        (lambda c: c["ema"].model.map_layer0.bias.fill_(torch.nan), "model.map_layer0.bias holds NaN"),
    ],
)
def test_what_is_not_supported_is_named(
    change: Callable[[dict[str, Any]], object], message: str | None, tmp_path: Path
) -> None:
    file = changed_pickle(change, tmp_path / "edm.pkl")
    if message is None:
        edm.convert(file)
        return
    with pytest.raises(UserError, match=message):
        run(str(file), "--output", str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()


def test_options_that_the_file_tells_are_refused(tmp_path: Path) -> None:
    file = str(write_network(tmp_path / "edm.pkl", TINY, edm_weights(TINY)))
    with pytest.raises(UserError, match="--head-width is of no use with --format edm"):
        run(file, "--output", str(tmp_path / "model"), "--head-width", "8")
    run(file, "--output", str(tmp_path / "model"), "--length", "50", "--format", "edm")
    assert load_denoiser(tmp_path / "model").schedule.length == 50


def test_network_and_scheduler_must_agree(base: Path, tmp_path: Path) -> None:
    for key, change, message in (
        ("prediction_type", lambda value: "epsilon", "prediction_type of the scheduler config is epsilon"),
        ("trained_betas", lambda value: [1.001 * value[0], *value[1:]], "noise levels of the network"),
    ):
        shutil.copytree(base, tmp_path / key)
        file = tmp_path / key / "scheduler/scheduler_config.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, key: change(config[key])}))
        with pytest.raises(UserError, match=message):
            load_denoiser(tmp_path / key)
