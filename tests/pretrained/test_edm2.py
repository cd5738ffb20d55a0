"""EDM2 networks are the published functions, read from pickles as NVlabs writes them, sampled, exported, finetuned."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmd_ddm.cli import import_model
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.convert import convert_file
from mmd_ddm.pretrained.edm2_unet import EDM2UNet2DModel
from mmd_ddm.pretrained.formats import edm, edm2
from mmd_ddm.pretrained.formats.architecture import unet_shapes
from mmd_ddm.pretrained.load import load_denoiser
from tests.pretrained.exported import export, images_by_diffusers, images_of
from tests.pretrained.originals.edm2 import (
    IMAGENET_64_S,
    IMAGENET_512_XS,
    EDM2Structure,
    edm2_content,
    edm2_denoiser,
    edm2_shapes,
    edm2_weights,
    write_edm2,
)
from tests.pretrained.originals.edm_pickle import Persistent, write_edm
from tests.pretrained.originals.edm_sampler import euler, karras
from tests.pretrained.originals.structure import Weights

TINY = EDM2Structure(8, (1, 2), 1, 8, (4,), head_width=8, classes=3)
SMALL = {
    "conditional": replace(TINY, blocks=2),
    "unconditional": replace(TINY, classes=0, attention=(8, 4)),
    "three levels": EDM2Structure(8, (2, 1, 2), 1, 8, (), head_width=16),
    "other balances": replace(TINY, given=(
        ("res_balance", 0.4), ("attn_balance", 0.2), ("concat_balance", 0.3), ("label_balance", 0.7), ("clip_act", 1),
    )),
}  # fmt: skip


def double(s: EDM2Structure) -> Weights:
    return {name: value.double() for name, value in edm2_weights(s).items()}


@torch.no_grad()
def compare(s: EDM2Structure, network: EDM2UNet2DModel, weights: Weights) -> None:
    t = torch.tensor([0, 1, 370, 999])
    sigma = network.sigmas[t]
    level = sigma.view(-1, 1, 1, 1)
    image = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    x = image * (1 + level**2).sqrt()
    labels = torch.tensor([2, 0, 1, 2]) if s.classes else None
    told = None if labels is None else torch.eye(s.classes, dtype=torch.float64)[labels]
    denoised = edm2_denoiser(s, weights)(x, sigma, told)
    signal, noise = 1 / (1 + level**2).sqrt(), level / (1 + level**2).sqrt()
    expected = signal * (x - denoised) / level - noise * denoised
    found = network(image, t, labels).sample
    # float64 on both sides, but x_0 / sigma of the original loses three digits where sigma is 0.002
    assert float((found - expected).abs().max() / expected.std()) < 1e-10


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_the_same_functions(name: str, tmp_path: Path) -> None:
    s = SMALL[name]
    converted = edm2.convert(write_edm2(tmp_path / "edm2.pkl", s, edm2_weights(s)))
    network = EDM2UNet2DModel(**converted.config).eval()
    network.load_state_dict(converted.weights)
    compare(s, network.double(), double(s))


@pytest.mark.slow
def test_the_published_size_is_the_same_function() -> None:
    """3.6 GB: 280 million weights in float64, which both share; images of 8 pixels take all of its layers."""
    weights = double(IMAGENET_64_S)
    with torch.device("meta"):
        network = EDM2UNet2DModel(num_class_embeds=1000).eval()
    own = {name.removeprefix("unet."): value for name, value in weights.items() if "logvar" not in name}
    sigmas = torch.logspace(-2, 2, 1000, dtype=torch.float64)
    network.load_state_dict({**own, "sigmas": sigmas}, assign=True)
    compare(IMAGENET_64_S, network, weights)


@pytest.mark.parametrize(("s", "millions"), [(IMAGENET_64_S, 280.2), (IMAGENET_512_XS, 124.7)])
def test_networks_have_their_published_sizes(s: EDM2Structure, millions: float) -> None:
    """280 and 125 million, as the paper has it for EDM2-S and EDM2-XS."""
    widths = tuple(width for _, _, width in s.levels)
    config = {"sample_size": s.side, "in_channels": s.channels, "out_channels": s.channels, "num_class_embeds": 1000,
              "block_out_channels": widths, "noise_channels": s.width, "embedding_channels": max(widths),
              "concat_balance": 0.5}  # fmt: skip
    found = {name: shape for name, shape in unet_shapes(config).items() if name != "sigmas"}
    own = {name.removeprefix("unet."): shape for name, shape in edm2_shapes(s) if "logvar" not in name}
    assert found == own
    weights = {name: shape for name, shape in own.items() if "fourier" not in name}
    assert round(sum(torch.Size(shape).numel() for shape in weights.values()) / 1e6, 1) == millions


def test_gradients_are_those_of_the_function(tmp_path: Path) -> None:
    """By central differences in float64: also of weights, whose length has none, in training mode."""
    torch.manual_seed(0)
    config = edm2.convert(write_edm2(tmp_path / "edm2.pkl", TINY, edm2_weights(TINY))).config
    network = EDM2UNet2DModel(**{**config, "num_class_embeds": None, "dropout": 0.0}).double().train()
    with torch.no_grad():
        for name, each in network.named_parameters():
            if name.endswith("gain"):
                each.fill_(0.7)
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    weight = network.enc["8x8_block0"].conv_res0.weight
    before = weight.detach().clone()
    way = torch.randn_like(weight)
    (gradient,) = torch.autograd.grad(network(image, 500).sample.square().sum(), weight)
    assert torch.equal(weight, before)  # nothing was normalised in place
    assert abs(float((gradient * before).sum())) < 1e-3 * float(gradient.norm() * before.norm())

    @torch.no_grad()
    def value(step: float) -> float:
        weight.copy_(before + step * way)
        return float(network(image, 500).sample.square().sum())

    # the error is step^2 times a third derivative, and rounding 1e-16 / step
    assert (value(1e-5) - value(-1e-5)) / 2e-5 == pytest.approx(float((gradient * way).sum()), rel=1e-6)


def run(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    import_model.add_options(parser)
    import_model.execute(parser.parse_args(arguments))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edm2")
    return convert_file(write_edm2(folder / "edm2.pkl", TINY, edm2_weights(TINY)), folder / "base")


def test_import_tells_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(str(write_edm2(tmp_path / "edm2.pkl", TINY, edm2_weights(TINY), 2)), "--output", str(tmp_path / "base"))
    told = capsys.readouterr().out
    assert "images: 3 x 8 x 8" in told
    assert "1000 timesteps, predicts v_prediction" in told
    assert json.loads((tmp_path / "base/imported.json").read_text())["format"] == "edm2"
    assert (tmp_path / "base/unet/edm2_unet.py").is_file()
    denoiser = load_denoiser(tmp_path / "base")
    assert denoiser.classes == 3
    sigmas = denoiser.schedule.sigmas
    torch.testing.assert_close(sigmas[[0, -1]], torch.tensor([0.002, 80.0], dtype=torch.float64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("sampler", ["ddim", "heun-2"])
@torch.no_grad()
def test_ddim_is_euler_in_sigma_and_heun_the_authors_sampler(sampler: str, base: Path) -> None:
    denoiser = load_denoiser(base)
    denoiser.network.double()
    count = 4
    levels = karras(count)
    noise, labels = torch.randn(1, 2, 3, 8, 8, dtype=torch.float64), torch.tensor([0, 2])
    denoise, told = edm2_denoiser(TINY, double(TINY)), torch.eye(3, dtype=torch.float64)[labels]
    start = noise[0] * (1 + levels[0] ** 2).sqrt()
    x = euler(lambda x, sigma: denoise(x, sigma, told), start, levels, is_heun=sampler == "heun-2")
    steps = 2 * count - 1 if sampler == "heun-2" else count
    chain = make_chain(denoiser.schedule, sampler=sampler, steps=steps, schedule="karras")
    found = chain.sample(denoiser, noise, labels)
    # the network's own table, and the original's levels here, are in float32
    assert float((found - x).abs().max() / x.std()) < 1e-5


@pytest.mark.parametrize(("sampler", "steps", "schedule"), [("ddim", 4, "trailing"), ("heun-2", 5, "karras")])
def test_diffusers_gives_our_images(
    sampler: str, steps: int, schedule: str, base: Path, tmp_path: Path, remote_code: None
) -> None:
    denoiser = load_denoiser(base)
    chain = make_chain(denoiser.schedule, sampler=sampler, steps=steps, schedule=schedule)
    export(denoiser, chain, sampler, base, tmp_path / "model")
    theirs, ours = images_by_diffusers(tmp_path / "model", steps, [2, 1]), images_of(denoiser, chain, [2, 1])
    assert float(ours.std()) > 0.05  # not all clamped
    # diffusers' alpha_bar is in float32: to 1e-6 where little noise is left, carried through the chain
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-4)
    again = load_denoiser(tmp_path / "model")
    assert isinstance(again.network, EDM2UNet2DModel)


def test_class_labels_are_needed(base: Path) -> None:
    network = load_denoiser(base).network
    with pytest.raises(ValueError, match="class_labels are missing"):
        network(torch.zeros(1, 3, 8, 8), 3)


class Foreign:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('harm', 'w')",)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(encoder=Persistent("OtherEncoder", {})), "makes what a OtherEncoder decodes"),
        (lambda c: c.update(encoder=Foreign()), r"the pickle names builtins\.eval, which"),
        (lambda c: c["ema"].unet.__dict__.update(note=Foreign()), r"the pickle names builtins\.eval, which"),
        (lambda c: c["ema"].__dict__.update(_kind="EDMPrecond"), "holds a EDMPrecond; supported is Precond"),
        (lambda c: c["ema"].unet.__dict__.update(_kind="DiT"), "holds a network DiT; only UNet"),
        (lambda c: c["ema"].__dict__.update(label_dim=4), "has a label_dim of 3, and what is around it one of 4"),
        (lambda c: c["ema"].unet._init_kwargs.update(depth=3), "has a setting depth, which is none of EDM2's UNet"),
        (lambda c: c["ema"].unet._init_kwargs.update(resample_filter=[1, 3, 3, 1]), "a resample_filter of"),
        (lambda c: c["ema"].unet._init_kwargs.update(channel_mult=[]), "its channel_mult is empty"),
        (lambda c: c["ema"].unet._init_kwargs.update(channels_per_head=5), "attention_head_dim is 5, which does not"),
        (lambda c: c["ema"].unet._init_kwargs.update(num_blocks=10**9), "layers_per_block in .* is 1000000000"),
        (lambda c: c["ema"].unet._init_kwargs.update(channel_mult_emb=3), "emb_linear.weight of shape"),
        (lambda c: c["ema"].unet.register_buffer("extra", torch.ones(2)), "its tensor unet.extra gives extra of"),
        (lambda c: c["ema"].unet.out_gain.fill_(torch.nan), "unet.out_gain holds NaN"),
        (lambda c: c.pop("encoder"), None),
        (lambda c: c["ema"].unet._init_kwargs.update(channel_mult_emb=2, channel_mult_noise=1, clip_act=None), None),
    ],
)
def test_what_is_not_supported_is_named(change: Change, message: str | None, tmp_path: Path) -> None:
    content = edm2_content(TINY, edm2_weights(TINY))
    change(content)
    file = write_edm(tmp_path / "edm2.pkl", content)
    if message is None:
        edm2.convert(file)
        return
    with pytest.raises(UserError, match=message):
        convert_file(file, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_two_formats_are_told_apart(tmp_path: Path) -> None:
    file = write_edm2(tmp_path / "edm2.pkl", TINY, edm2_weights(TINY))
    assert edm2.recognises(file)
    with pytest.raises(UserError, match="holds a Precond; supported are EDMPrecond"):
        edm.convert(file)
    with pytest.raises(UserError, match="--length is 1"):
        edm2.convert(file, 1)
