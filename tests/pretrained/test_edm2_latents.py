"""EDM2 networks that make latents: their pickles, the autoencoder that takes in how they are normalised, whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from torch import Tensor

import mmd_ddm
from mmd_ddm.cli.main import main
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.run import finetune
from mmd_ddm.pretrained.convert import convert_file
from mmd_ddm.pretrained.formats import edm2
from mmd_ddm.pretrained.load import load_denoiser
from mmd_ddm.pretrained.locate import locate
from mmd_ddm.pretrained.normalised_autoencoder import normalise
from tests.latent_models import CHANNELS, IMAGE, KL, SIDE, VQ, autoencoder
from tests.pretrained.originals.edm2 import EDM2Structure, edm2_content, edm2_denoiser, edm2_weights
from tests.pretrained.originals.edm_pickle import Persistent, write_edm
from tests.pretrained.originals.edm_sampler import euler, karras
from tests.pretrained.routes import check_routes

CONDITIONAL = EDM2Structure(8, (1,), 1, SIDE, (4,), head_width=8, classes=10, channels=CHANNELS)
STRUCTURES = {"conditional": CONDITIONAL, "unconditional": replace(CONDITIONAL, classes=0)}
NAME = "stabilityai/sd-vae-ft-mse"
MEAN, DEVIATION = np.float32([5.81, -2.15]), np.float32([4.17, 3.28])
SCALE = np.float32(0.5) / DEVIATION
BIAS = -MEAN * SCALE


def encoder(**changes: object) -> Persistent:
    """As NVlabs' code writes it: arrays of NumPy, and no autoencoder."""
    state = {"vae_name": NAME, "scale": SCALE, "bias": BIAS, "batch_size": 8, "_vae": None, **changes}
    return Persistent("StabilityVAEEncoder", {}, **state)


def pickled(s: EDM2Structure, file: Path, decodes: object = None, protocol: int = 4) -> Path:
    content = edm2_content(s, edm2_weights(s))
    content["encoder"] = encoder() if decodes is None else decodes
    return write_edm(file, content, protocol)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("vae")
    autoencoder(KL).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=STRUCTURES)
def base(request: pytest.FixtureRequest, vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    file = pickled(STRUCTURES[request.param], folder / "edm2.pkl")
    return convert_file(file, folder / "base", autoencoder=str(vae))


def per_channel(numbers: np.ndarray) -> Tensor:
    return torch.from_numpy(numbers).double().view(-1, 1, 1)


def original_decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """NVlabs' way from latents to images, which are in [0, 1] there, in [-1, 1]."""
    return 2 * vae.decode((latents - per_channel(BIAS)) / per_channel(SCALE)).sample - 1


@torch.no_grad()
def test_normalised_autoencoder_is_the_original_one() -> None:
    original, found = autoencoder(KL).double(), autoencoder(KL).double()
    found.load_state_dict(original.state_dict())
    normalise(found, torch.from_numpy(SCALE), torch.from_numpy(BIAS))
    latents = torch.randn(3, CHANNELS, SIDE, SIDE, dtype=torch.float64)
    # in float64, of numbers of size 1 to 10
    torch.testing.assert_close(found.decode(latents).sample, original_decode(original, latents), rtol=0, atol=1e-10)
    images = torch.rand(3, *IMAGE, dtype=torch.float64)
    ours, theirs = found.encode(images).latent_dist, original.encode(images).latent_dist
    expected = theirs.mean * per_channel(SCALE) + per_channel(BIAS)
    torch.testing.assert_close(ours.mean, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.std, theirs.std * per_channel(SCALE), rtol=0, atol=1e-10)
    assert found.config.scaling_factor == 1


def test_import_tells_what_it_is(vae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for protocol in (2, 4):
        file, folder = pickled(CONDITIONAL, tmp_path / f"{protocol}.pkl", protocol=protocol), tmp_path / str(protocol)
        assert main(["import", str(file), "--output", str(folder), "--autoencoder", str(vae)]) == 0
        told = capsys.readouterr().out
        assert "images: 1 x 8 x 8" in told
        assert json.loads((folder / "imported.json").read_text())["autoencoder"] == str(vae)
    one, other = (AutoencoderKL.from_pretrained(tmp_path / name, subfolder="vae").state_dict() for name in "24")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@torch.no_grad()
def test_images_are_the_originals(vae: Path, base: Path) -> None:
    s = STRUCTURES["conditional" if load_denoiser(base).classes else "unconditional"]
    denoiser, original = load_denoiser(base).double(), AutoencoderKL.from_pretrained(vae).double()
    levels = karras(4)
    noise, labels = torch.randn(1, 2, CHANNELS, SIDE, SIDE, dtype=torch.float64), torch.tensor([7, 2])
    denoise = edm2_denoiser(s, {name: value.double() for name, value in edm2_weights(s).items()})
    told = torch.eye(10, dtype=torch.float64)[labels] if s.classes else None
    start = noise[0] * (1 + levels[0] ** 2).sqrt()
    made = original_decode(original, euler(lambda x, sigma: denoise(x, sigma, told), start, levels))
    chain = make_chain(denoiser.schedule, sampler="ddim", steps=4, schedule="karras")
    found = chain.sample(denoiser, noise, labels if s.classes else None)
    # the network's own table is in float32, and so are the weights that took in the normalisation
    assert float((found - made).abs().max() / made.std()) < 1e-4


@pytest.mark.parametrize(("sampler", "steps", "schedule"), [("ddim", 4, "trailing"), ("heun-2", 5, "karras")])
def test_diffusers_gives_our_images(
    sampler: str, steps: int, schedule: str, base: Path, tmp_path: Path, remote_code: None
) -> None:
    labels = {"class_labels": [2, 9]} if load_denoiser(base).classes else {}
    config = preset("paper", "digits").replace(
        base_model=str(base), updates=1, batch=4, scorings=1, score_images=8, steps=steps, sampler=sampler,
        schedule=schedule, learning_rate=1e-3,
    )  # fmt: skip
    outcome = finetune(config, tmp_path / "run", report=lambda metrics, checkpoint: None)
    assert outcome.model is not None
    assert not torch.equal(*(load_denoiser(each).network.out_gain for each in (base, outcome.model)))
    pipeline = DiffusionPipeline.from_pretrained(outcome.model, trust_remote_code=True)
    assert type(pipeline.unet).__module__.startswith("diffusers_modules")
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(5)  # LDMPipeline hands no generator to its scheduler
    theirs = pipeline(num_inference_steps=steps, output_type="np", **(labels or {"batch_size": 2})).images
    ours = (mmd_ddm.sample(outcome.model, 2, seed=5, **labels) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    assert float(ours.std()) > 0.02  # not all clamped
    # diffusers' alpha_bar is in float32: to 1e-6 where little noise is left, carried through chain and decoder
    torch.testing.assert_close(torch.from_numpy(theirs), ours, rtol=0, atol=1e-4)


def test_routes_give_one_gradient(base: Path) -> None:
    denoiser = load_denoiser(base)
    check_routes(denoiser, make_chain(denoiser.schedule, sampler="ddim", steps=3, schedule="trailing"))


def without(name: str) -> Persistent:
    made = encoder()
    del made.__dict__[name]
    return made


@pytest.mark.parametrize(
    ("decodes", "message"),
    [
        (without("vae_name"), "has no vae_name, scale and bias"),
        (without("scale"), "has no vae_name, scale and bias"),
        (encoder(bias=BIAS.astype(np.float64)), "has no vae_name, scale and bias"),
        (encoder(bias=BIAS.astype(">f4")), "has no vae_name, scale and bias"),
        (encoder(bias=[0.0, 0.0]), "has no vae_name, scale and bias"),
        (encoder(bias=np.float32([[1, 2]])), "has no vae_name, scale and bias"),
        (encoder(scale=np.float32([1, 2, 3])), "scales 3 channels, and the network makes 2"),
        (encoder(scale=np.float32([1, 0])), "which nothing can undo"),
        (encoder(bias=np.float32([1, np.nan])), "which nothing can undo"),
    ],
)
def test_encoders_that_are_damaged_are_refused(decodes: Persistent, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        edm2.convert(pickled(CONDITIONAL, tmp_path / "edm2.pkl", decodes))


def test_autoencoder_has_to_be_named(tmp_path: Path) -> None:
    file = pickled(CONDITIONAL, tmp_path / "edm2.pkl")
    told = f"latents of {NAME}, of which the file has the name alone: mmd-ddm import {file} --autoencoder {NAME} --out"
    for attempt in (lambda: convert_file(file, tmp_path / "base"), lambda: locate(str(file))):
        with pytest.raises(UserError, match=told):
            attempt()


def of_kind(kind: str, **changes: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        made = autoencoder(kind)
        config = {name: value for name, value in made.config.items() if not name.startswith("_")}
        type(made)(**{**config, **changes}).save_pretrained(folder)

    return save


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (of_kind(VQ), "is a VQModel; it must be an AutoencoderKL as stabilityai"),
        (of_kind(KL, latent_channels=3), "has latents of 3 channels, and the network makes 2"),
        (of_kind(KL, use_post_quant_conv=False), "has no quant_conv and post_quant_conv"),
        (lambda folder: folder.mkdir(), "has no config.json"),
        (lambda folder: None, "--autoencoder: base model .* is not a folder or file"),
    ],
)
def test_other_autoencoders_are_refused(save: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    save(tmp_path / "vae")
    with pytest.raises(UserError, match=message):
        convert_file(pickled(CONDITIONAL, tmp_path / "edm2.pkl"), tmp_path / "base", autoencoder=str(tmp_path / "vae"))
    assert not (tmp_path / "base").exists()


def test_networks_of_images_have_none(vae: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pickled(CONDITIONAL, tmp_path / "edm2.pkl", Persistent("StandardRGBEncoder", {}))
    for source in (file, locate("digits")):
        assert main(["import", str(source), "--output", str(tmp_path / "base"), "--autoencoder", str(vae)]) != 0
        assert "--autoencoder is of no use with" in capsys.readouterr().err
