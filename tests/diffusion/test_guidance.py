"""Guided predictions, and what they cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.baselines import make_baseline
from mmd_ddm.diffusion.budgets import check_chain, evaluations
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain, make_learned_chain
from mmd_ddm.errors import UserError
from tests.conftest import SHAPE, Output

CLASSES = 3


class LabelledNetwork(nn.Module):
    """Says a number for each label, of the image's shape twice, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([2.0, 3.0, 5.0, 7.0]))
        self.asked: list[list[int]] = []

    def forward(self, image: Tensor, timestep: Tensor, class_labels: Tensor) -> Output:
        self.asked.append(class_labels.tolist())
        said = self.values[class_labels].view(-1, 1, 1, 1) * (image + 1)
        return Output(torch.cat([said, 0.1 * said], dim=1))


@pytest.fixture
def network() -> LabelledNetwork:
    return LabelledNetwork()


@pytest.fixture
def denoiser(network: LabelledNetwork, noise_schedule: NoiseSchedule) -> Denoiser:
    return Denoiser(network, noise_schedule, SHAPE, classes=CLASSES, null_class=CLASSES)


def test_guided_prediction(denoiser: Denoiser, network: LabelledNetwork) -> None:
    image, labels = torch.zeros(2, *SHAPE), torch.tensor([0, 2])
    found = denoiser.predict(image, 500, labels=labels, guidance_scale=1.5)
    # u + w (c - u) with u = 7, c = 2 and 5; the variance is the first evaluation's
    assert found.epsilon[:, 0, 0, 0].tolist() == [7 + 1.5 * (2 - 7), 7 + 1.5 * (5 - 7)]
    assert found.variance is not None
    assert found.variance[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.5])
    assert network.asked == [[0, 2], [3, 3]]
    for off in (None, 1, 1.0):
        assert denoiser.predict(image, 500, labels=labels, guidance_scale=off).epsilon[1, 0, 0, 0] == 5
    assert len(network.asked) == 5


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 4), ("unipc-3", 6), ("heun-2", 6), ("ddpm", 4)])
def test_budget_is_of_evaluations(
    denoiser: Denoiser, network: LabelledNetwork, noise_schedule: NoiseSchedule, sampler: str, steps: int
) -> None:
    chain = make_chain(noise_schedule, sampler=sampler, steps=steps, guidance_scale=2.0, schedule="linear")
    plain = make_chain(noise_schedule, sampler=sampler, steps=steps // 2, schedule="linear")
    assert chain.timesteps == plain.timesteps
    assert (chain.nfe, plain.nfe) == (steps, steps // 2)
    chain.sample(denoiser, torch.randn(chain.draws, 2, *SHAPE), torch.tensor([0, 1]))
    assert len(network.asked) == steps == evaluations(sampler, "linear", steps, 1000, 2.0)


def test_other_chains_are_guided_too(
    denoiser: Denoiser, network: LabelledNetwork, noise_schedule: NoiseSchedule
) -> None:
    how = {"sampler": "ddim", "steps": 4, "schedule": "linear", "eta": 0.0, "variance": "model", "guidance_scale": 2.0}
    noise, labels = torch.randn(1, 2, *SHAPE), torch.tensor([0, 1])
    plain = make_chain(noise_schedule, **how).sample(denoiser, noise, labels)
    learned = make_learned_chain(noise_schedule, **how)
    # before any update a learned chain is the solver, but for float32 and the told times
    torch.testing.assert_close(learned.sample(denoiser, noise, labels), plain, rtol=1e-4, atol=1e-5)
    published = make_baseline("plms", noise_schedule, 6, 2.0)
    network.asked.clear()
    published.sample(denoiser, noise, labels)
    assert len(network.asked) == published.nfe == 6


def test_what_cannot_be_guided_is_refused(denoiser: Denoiser, noise_schedule: NoiseSchedule) -> None:
    with pytest.raises(UserError, match="takes two network evaluations; choose 4 or 6"):
        make_chain(noise_schedule, steps=5, guidance_scale=2.0)
    with pytest.raises(UserError, match=r"choose 2$"):
        check_chain("ddim", "linear", 1, 1000, 2.0)
    denoiser.null_class = None
    with pytest.raises(UserError, match="know images without a label"):
        denoiser.predict(torch.zeros(1, *SHAPE), 5, labels=torch.tensor([0]), guidance_scale=2.0)
