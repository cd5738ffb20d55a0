"""Gaussian data N(mean, covariance), for which each parametrisation's exact prediction is known at every level.

q(x_t) = N(a mean, C) with C = a^2 covariance + b^2 I for images x_t = a x_0 + b epsilon; so E[x_0 | x_t] = mean +
a covariance C^-1 (x_t - a mean) and E[epsilon | x_t] = b C^-1 (x_t - a mean). a and b are sqrt(alpha_bar) and
sqrt(1 - alpha_bar), or 1 - t and t of flow matching.
"""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from mmd_ddm.diffusion.chain import Chain, State
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.multistep.methods import LEARNABLE
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.pretrained.load import flow_network
from tests.conftest import SHAPE, Output
from tests.diffusion.cases import PREDICTIONS

FLOW = "flow"
SIZE = math.prod(SHAPE)


class Data:
    """Images of a covariance that is not diagonal."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.mean = torch.linspace(-0.6, 0.8, SIZE, dtype=torch.float64)
        root = 0.2 * torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64)
        self.covariance = root @ root.T + 0.01 * torch.eye(SIZE, dtype=torch.float64)

    def expected(self, image: Tensor, a: float, b: float) -> tuple[Tensor, Tensor]:
        """E[x_0 | x] and E[epsilon | x] of images a x_0 + b epsilon."""
        inverse = torch.linalg.inv(a**2 * self.covariance + b**2 * torch.eye(SIZE, dtype=torch.float64))
        standard = (image.flatten(1) - a * self.mean) @ inverse
        clean = self.mean + a * standard @ self.covariance
        return clean.view_as(image), (b * standard).view_as(image)

    def flow(self, image: Tensor, start: float, end: float) -> Tensor:
        """The probability flow from one alpha_bar to another: x - a mean goes along the axes as C^(1/2) does."""
        values, axes = torch.linalg.eigh(self.covariance)
        ratio = ((end * values + 1 - end) / (start * values + 1 - start)).sqrt()
        moved = (image.flatten(1) - math.sqrt(start) * self.mean) @ axes * ratio @ axes.T
        return (math.sqrt(end) * self.mean + moved).view_as(image)


class Exact(nn.Module):
    """The exact prediction of one kind, of whole timesteps."""

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule, self.data = schedule, Data()

    def forward(self, image: Tensor, timestep: Tensor) -> Output:
        alpha_bar = float(self.schedule.alpha_bar[int(timestep[0])])
        a, b = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        clean, epsilon = self.data.expected(image, a, b)
        kinds = {"epsilon": epsilon, "sample": clean, "v_prediction": a * epsilon - b * clean}
        return Output(kinds[self.schedule.prediction_type])


def exact_flow(self: UNet2DModel, image: Tensor, timestep: Tensor, labels: None = None) -> Output:
    """In place of the network that was trained by flow matching: E[epsilon - x_0 | x], told t T."""
    t = float(timestep[0]) / self.config.flow_timesteps
    clean, epsilon = Data().expected(image, 1 - t, t)
    return Output(epsilon - clean)


def denoiser_of(kind: str, alpha_bar: Tensor, patch: pytest.MonkeyPatch) -> Denoiser:
    if kind != FLOW:
        schedule = NoiseSchedule(alpha_bar, kind)  # type: ignore[arg-type]
        return Denoiser(Exact(schedule), schedule, SHAPE)
    patch.setattr(UNet2DModel, "forward", exact_flow)
    schedule = NoiseSchedule(alpha_bar, "v_prediction", None)
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "block_out_channels": (8,)}
    network = UNet2DModel(sample_size=4, norm_num_groups=1, layers_per_block=1, add_attention=False, **blocks).double()
    return Denoiser(flow_network(network, schedule), schedule, SHAPE)


def even(levels: int) -> Tensor:
    """Even in the log-SNR, as timesteps: the cleanest first."""
    return torch.sigmoid(torch.linspace(6, -8, levels, dtype=torch.float64))


def start() -> Tensor:
    return torch.linspace(-2, 2, 3 * SIZE, dtype=torch.float64).view(1, 3, *SHAPE)[:, :, :, :, [1, 0]]


@pytest.mark.parametrize("sampler", LEARNABLE)
def test_all_parametrisations_give_the_same_images(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alpha_bar, images = even(41), {}
    for kind in (*PREDICTIONS, FLOW):
        chain = make_chain(NoiseSchedule(alpha_bar), sampler=sampler, steps=7, schedule="trailing")
        with torch.no_grad():
            images[kind] = chain.sample(denoiser_of(kind, alpha_bar, monkeypatch), start())
    for kind in ("sample", "v_prediction", FLOW):
        # 1 / sqrt(alpha_bar) is 3000 where they begin
        torch.testing.assert_close(images[kind], images["epsilon"], rtol=0, atol=1e-10)


def flow_error(kind: str, sampler: str, levels: int, patch: pytest.MonkeyPatch) -> float:
    """Largest distance from the exact flow at the last level, before the step to no noise."""
    alpha_bar = even(levels)
    denoiser, solver = denoiser_of(kind, alpha_bar, patch), LEARNABLE[sampler].solver(alpha_bar.flip(0))
    chain, state = Chain(solver, tuple(levels - 1 - row.level for row in solver.rows)), State(start()[0])
    with torch.no_grad():
        for k in range(len(solver.rows) - 1):
            state = chain.step(denoiser, state, k, start())
    return float((state.image - Data().flow(start()[0], float(alpha_bar[-1]), float(alpha_bar[0]))).abs().max())


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("deis-2", 2), ("dpm-solver++-2m", 2), ("heun-2", 2)])
@pytest.mark.parametrize("kind", [*PREDICTIONS, FLOW])
def test_chains_converge_to_the_exact_flow(
    kind: str, sampler: str, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the steps halve the error of order 1 and quarter that of order 2, within a factor of sqrt(2)."""
    few, many = (flow_error(kind, sampler, levels, monkeypatch) for levels in (41, 81))
    assert few / many == pytest.approx(2**order, rel=0.4)
    assert many < 0.2 / 2**order
