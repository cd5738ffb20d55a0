"""The law of tests/finetuning/test_gradient.py for imported networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmd_ddm.diffusion.chain import Chain, Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.make_kernel import make_kernel
from mmd_ddm.discrepancy.mmd import mmd2
from mmd_ddm.discrepancy.specification import parse_kernel
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.objective import BankReference, Objective


def check_routes(denoiser: Denoiser, chain: Chain) -> None:
    """Replayed and stored, in micro-batches, the gradient is plain autograd's."""
    denoiser.double()
    noise = torch.randn(1, 4, *denoiser.image_shape, dtype=torch.float64)
    labels = None if denoiser.classes is None else torch.tensor([1, 0, 1, 1])
    with torch.no_grad():
        pixels = chain.sample(denoiser, noise, labels)[0].numel()
    space = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 5), nn.Tanh()).double().requires_grad_(False)
    real = torch.randn(9, 5, dtype=torch.float64)
    kernel = make_kernel(parse_kernel("cubic+rbf:dim"), real)
    weights = list(denoiser.parameters())
    loss = mmd2(space(chain.sample(denoiser, noise, labels)), real, kernel)
    expected = torch.cat([each.flatten() for each in torch.autograd.grad(loss, weights)])
    assert float(expected.norm()) > 0
    for route in GRADIENTS:
        denoiser.zero_grad()
        collective = SingleCollective()
        objective = Objective(kernel, BankReference(Bank(real), kernel, collective, real), collective)
        value = GRADIENTS[route](Rollout(denoiser, chain, space), objective, Start(noise, labels).split([3, 1]), 1)
        assert float(value) == pytest.approx(loss.item(), rel=1e-10)
        found = torch.cat([each.grad.flatten() for each in weights])
        assert float((found - expected).norm() / expected.norm()) < 1e-10
