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
    """Replayed and stored, in micro-batches, the gradient on 3 x 8 x 8 images is plain autograd's."""
    denoiser.network.double()
    space = nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Tanh()).double().requires_grad_(False)
    real, noise = torch.randn(9, 5, dtype=torch.float64), torch.randn(1, 4, 3, 8, 8, dtype=torch.float64)
    kernel = make_kernel(parse_kernel("cubic+rbf:dim"), real)
    weights = list(denoiser.parameters())
    loss = mmd2(space(chain.sample(denoiser, noise)), real, kernel)
    expected = torch.cat([each.flatten() for each in torch.autograd.grad(loss, weights)])
    assert float(expected.norm()) > 0
    for route in GRADIENTS:
        denoiser.zero_grad()
        collective = SingleCollective()
        objective = Objective(kernel, BankReference(Bank(real), kernel, collective, real), collective)
        value = GRADIENTS[route](Rollout(denoiser, chain, space), objective, Start(noise).split([3, 1]), 1)
        assert float(value) == pytest.approx(loss.item(), rel=1e-10)
        found = torch.cat([each.grad.flatten() for each in weights])
        assert float((found - expected).norm() / expected.norm()) < 1e-10
