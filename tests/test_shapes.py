"""The suite notices a tensor of another shape than a signature says."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.kernels import Linear
from tests.conftest import SHAPE


def test_of_an_argument() -> None:
    with pytest.raises(TypeCheckError, match="D"):
        Linear()(torch.zeros(3, 4), torch.zeros(2, 5))


def test_of_a_result(monkeypatch: pytest.MonkeyPatch, toy: Denoiser) -> None:
    monkeypatch.setattr(
        toy, "predict", lambda image, timestep, **how: type("Wide", (), {"epsilon": torch.zeros(3, *SHAPE)})
    )
    with pytest.raises(TypeCheckError, match="N"):
        toy(torch.zeros(2, *SHAPE), 7)


def test_of_noise_without_draws(toy: Denoiser) -> None:
    with pytest.raises(TypeCheckError, match="draws N c h w"):
        make_chain(toy.schedule).sample(toy, torch.zeros(2, *SHAPE))
