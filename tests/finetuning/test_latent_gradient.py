"""The gradient's law where a decoder stands between the chain and the features, frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm import compilation
from mmd_ddm.compilation import batches_of
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.decoder import ImageDecoder
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.make_kernel import make_kernel
from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.footprint import footprint
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.objective import BankReference, Objective
from mmd_ddm.pretrained.load import load_denoiser
from tests.latent_models import AUTOENCODERS, IMAGE, KL, VQ, latent_folder

BATCH, STEPS, UPDATE = 5, 3, 2
SIZES = {"whole": [5], "unequal": [1, 3, 1]}


class Setting:
    """A latent model in float64, a feature space of decoded images, and a loss."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        self.denoiser = load_denoiser(folder).double()
        self.chain = make_chain(self.denoiser.schedule, sampler="ddim", steps=STEPS)
        pixels = IMAGE[0] * IMAGE[1] * IMAGE[2]
        space = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 6), nn.Tanh()).double().requires_grad_(False)
        self.rollout = Rollout(self.denoiser, self.chain, space)
        bank = Bank(torch.randn(17, 6, dtype=torch.float64))
        kernel = make_kernel(parse_kernel("rational_quadratic"), bank.features[:])
        reference = BankReference(bank, kernel, SingleCollective(), torch.empty(0, 6, dtype=torch.float64))
        self.objective = Objective(kernel, reference, SingleCollective())

    def start(self) -> Start:
        drawn = NoiseSource(1, "training").draw(UPDATE, range(BATCH), self.chain.draws, self.denoiser.image_shape)
        return Start(drawn.double())

    def gradient(self, route: str, sizes: list[int]) -> dict[str, Tensor]:
        self.denoiser.zero_grad()
        GRADIENTS[route](self.rollout, self.objective, self.start().split(sizes), UPDATE)
        return {name: p.grad.clone() for name, p in self.denoiser.named_parameters() if p.grad is not None}

    def loss(self) -> Tensor:
        with torch.no_grad():
            features = self.rollout.features(self.rollout.trajectory(self.start(), (UPDATE, 0))[-1])
        return self.objective(features, UPDATE)[0]


@pytest.fixture(params=AUTOENCODERS)
def setting(request: pytest.FixtureRequest, tmp_path: Path) -> Setting:
    return Setting(latent_folder(tmp_path / "model", request.param))


def test_all_routes_give_one_gradient(setting: Setting) -> None:
    expected = setting.gradient("stored", SIZES["whole"])
    assert expected
    size = torch.cat([value.flatten() for value in expected.values()]).norm()
    for route, sizes in (("stored", "unequal"), ("replay", "whole"), ("replay", "unequal")):
        found = setting.gradient(route, SIZES[sizes])
        assert found.keys() == expected.keys()
        off = torch.cat([(found[name] - value).flatten() for name, value in expected.items()]).norm()
        assert off < 1e-10 * size


def test_decoder_is_part_of_the_derivative(tmp_path: Path) -> None:
    # without a codebook the loss is smooth: central differences are off by step^2, rounding by 1e-16 / step
    setting, step = Setting(latent_folder(tmp_path / "model", KL)), 1e-5
    gradient = setting.gradient("replay", SIZES["whole"])
    direction = {name: torch.randn_like(value) for name, value in gradient.items()}
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, parameter in setting.denoiser.named_parameters():
                parameter.add_(direction[name], alpha=sign * step)
            losses.append(setting.loss())
            for name, parameter in setting.denoiser.named_parameters():
                parameter.sub_(direction[name], alpha=sign * step)
    expected = sum((gradient[name] * each).sum() for name, each in direction.items())
    assert ((losses[0] - losses[1]) / (2 * step)).item() == pytest.approx(float(expected), rel=1e-6)


def test_codebook_passes_the_gradient_straight_through(tmp_path: Path) -> None:
    denoiser = load_denoiser(latent_folder(tmp_path / "model", VQ)).double()
    assert denoiser.decoder is not None
    model, scale = denoiser.decoder.autoencoder, denoiser.decoder.scaling_factor
    latents = torch.randn(3, *denoiser.image_shape, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(3, *IMAGE, dtype=torch.float64)
    denoiser.decode(latents).backward(cotangent)
    # by hand: the nearest vector of the codebook at each place, and the gradient of what follows with respect to it
    vectors = model.quantize.embedding.weight
    rows = (latents.detach() / scale).permute(0, 2, 3, 1).unsqueeze(-2)  # (N, h, w, 1, c)
    nearest = vectors[(rows - vectors).square().sum(-1).argmin(-1)].permute(0, 3, 1, 2).requires_grad_()
    assert not torch.allclose(nearest, latents.detach() / scale, atol=0.1)
    model.decode(nearest, force_not_quantize=True).sample.backward(cotangent)
    assert nearest.grad is not None
    torch.testing.assert_close(latents.grad, nearest.grad / scale, rtol=1e-12, atol=1e-14)


def test_decoder_stays_as_it_is(setting: Setting) -> None:
    denoiser = setting.denoiser.train()
    assert denoiser.decoder is not None
    assert not any(module.training for module in denoiser.decoder.modules())
    before = {name: value.clone() for name, value in denoiser.decoder.state_dict().items()}
    frozen = set(denoiser.decoder.parameters())
    assert not frozen & set(denoiser.parameters())
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=0.1)
    average = EMA(denoiser, 0.5)
    for update in range(2):
        setting.gradient("replay", SIZES["whole"])
        optimizer.step()
        average.update(denoiser, update)
    assert all(parameter.grad is None for parameter in frozen)
    assert all(torch.equal(value, before[name]) for name, value in denoiser.decoder.state_dict().items())


def test_memory_of_decoding_counts(setting: Setting) -> None:
    start = setting.start()
    found = footprint(setting.rollout, start)
    plain = Rollout(
        Denoiser(setting.denoiser.network, setting.denoiser.schedule, setting.denoiser.image_shape),
        setting.chain,
        lambda latents: latents.flatten(1),
    )
    assert footprint(plain, start).evaluation == found.evaluation
    # each of the images is kept by several layers of the decoder at the full resolution, 8 channels wide
    assert found.features > 8 * 8 * IMAGE[1] * IMAGE[2]
    assert found.features > 10 * footprint(plain, start).features


def test_decoder_scales_latents_down_first(tmp_path: Path) -> None:
    model = load_denoiser(latent_folder(tmp_path / "model", KL)).decoder
    assert model is not None
    latents = torch.randn(2, 2, 4, 4)
    expected = model.autoencoder.decode(latents / 0.7).sample
    assert torch.equal(model(latents), expected)
    bf16 = ImageDecoder(model.autoencoder, 0.7, "bf16")(latents)
    assert bf16.dtype == torch.float32
    # bfloat16 has 8 bits, and there are some ten layers
    assert 0 < (bf16 - expected).norm() / expected.norm() < 10 * 2**-8


def test_decoder_is_compiled_like_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    folder = latent_folder(tmp_path / "model", KL)
    plain, compiled = load_denoiser(folder).decoder, load_denoiser(folder, compiled=True).decoder
    assert plain is not None
    assert compiled is not None
    latents = torch.randn(3, 2, 4, 4, requires_grad=True)
    expected = plain(latents)
    (gradient,) = torch.autograd.grad(expected.sum(), latents)
    with batches_of(4):
        found = compiled(latents)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), latents)[0], gradient)
