"""Networks that calculate in bfloat16 inside, between numbers that stay as they were."""

from __future__ import annotations

import copy

import pytest
import torch

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise import NoiseSource
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.discrepancy.mmd import cross_moments, sum_and_gradient, within_moments
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.objective import ValueAndGradient
from mmd_ddm.precision import BF16, FP32, TF32, inside_network, use_tensor_cores, whole_products
from tests.conftest import SHAPE, ToyNetwork

EPSILON = 2.0**-8  # of bfloat16: half of the distance from 1 to the next number


@pytest.fixture
def denoisers(noise_schedule: NoiseSchedule) -> tuple[Denoiser, Denoiser]:
    """The same network in both precisions."""
    network = ToyNetwork().eval()
    return Denoiser(network, noise_schedule, SHAPE), Denoiser(copy.deepcopy(network), noise_schedule, SHAPE, BF16)


def test_predictions_are_those_of_rounded_factors(denoisers: tuple[Denoiser, Denoiser]) -> None:
    whole, low = denoisers
    image = torch.randn(64, *SHAPE)
    found, expected = low(image, 300), whole(image, 300)
    assert found.dtype is torch.float32
    difference = (found - expected).norm() / expected.norm()
    # two layers, each with both factors and its result rounded, errors independent: sqrt(6) EPSILON / sqrt(3)
    assert EPSILON / 10 < difference < 2 * EPSILON
    assert not torch.is_autocast_enabled("cpu")


def test_all_but_the_inside_of_the_network_stays_float32(denoisers: tuple[Denoiser, Denoiser]) -> None:
    _, low = denoisers
    chain = make_chain(low.schedule, sampler="ddim", steps=4)
    rollout, start = Rollout(low, chain, lambda images: images.flatten(1)), Start(torch.randn(chain.draws, 5, *SHAPE))
    assert {state.image.dtype for state in rollout.trajectory(start, (0, 0))} == {torch.float32}
    GRADIENTS["replay"](rollout, first_pixel, [start], 0)
    for parameter in low.parameters():
        assert parameter.dtype is torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype is torch.float32


def first_pixel(features: torch.Tensor, update: int) -> ValueAndGradient:
    gradient = torch.zeros_like(features)
    gradient[:, 0] = 1
    return ValueAndGradient(features[:, 0].sum().double(), gradient)


def test_the_replayed_gradient_is_the_stored_one(denoisers: tuple[Denoiser, Denoiser]) -> None:
    gradients = {}
    for route, pieces in (("stored", 1), ("replay", 1), ("replay", 3)):
        low = copy.deepcopy(denoisers[1])
        chain = make_chain(low.schedule, sampler="ddim", steps=4)
        starts = Start(NoiseSource(0, "training").draw(0, range(12), chain.draws, SHAPE)).split(12 // pieces)
        GRADIENTS[route](Rollout(low, chain, lambda x: x.flatten(1)), first_pixel, starts, 0)
        gradients[route, pieces] = torch.cat([p.grad.flatten() for p in low.parameters() if p.grad is not None])
    expected = gradients["stored", 1]
    # what is recomputed is rounded alike; sums over other pieces of the batch are rounded otherwise
    torch.testing.assert_close(gradients["replay", 1], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert float((gradients["replay", 3] - expected).norm() / expected.norm()) < EPSILON


@pytest.mark.parametrize(("precision", "allowed"), [(FP32, False), (TF32, True), (BF16, True)])
def test_products_outside_of_networks_are_whole(precision: str, allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    seen = []

    class Spy(Cubic):
        def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            seen.append(state())
            return super().__call__(x, y)

    before = state()
    try:
        use_tensor_cores(precision)
        assert state() == (allowed, allowed)
        x = torch.randn(6, 3)
        sum_and_gradient(x, x, Spy())
        cross_moments(x, x, Spy())
        within_moments(x, Spy(), x)
        assert set(seen) == {(False, False)}
        assert state() == (allowed, allowed)
        with pytest.raises(KeyError), whole_products():
            raise KeyError
        assert state() == (allowed, allowed)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_nothing_is_changed_where_the_network_is_precise() -> None:
    with inside_network(FP32, "cpu"), inside_network(TF32, "cpu"):
        assert not torch.is_autocast_enabled("cpu")
