"""One update at the size of LSUN-Church, on the CPU: `python -m tests.benchmarks.church_update STEPS`.

The U-Net of 113.7 million weights on 256 x 256 images and Inception-V3, both with random weights; batch 2, one image
in the network at a time. Prints the loss and the largest resident size of the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import torch

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning.gradient import Rollout, replayed_gradient
from mmd_ddm.finetuning.image_range import into_range
from mmd_ddm.finetuning.objective import BankReference, Objective
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.known_unets import known_unet_config
from tests.benchmarks.one_update import peak

WEIGHTS, REAL = 113_673_219, 1000


def update(unet: Mapping[str, object], space: FeatureSpace, steps: int, batch: int, real: int) -> dict[str, float]:
    """The loss before the update, and by how much it moves a weight."""
    torch.manual_seed(0)
    schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
    shape = (3, unet["sample_size"], unet["sample_size"])
    denoiser = Denoiser(build_unet(unet), schedule, shape)
    chain, kernel, features = make_chain(schedule, steps=steps), Cubic(), torch.rand(real, space.dim)
    reference = BankReference(Bank(features), kernel, SingleCollective(), features)
    pipeline = Rollout(denoiser, chain, lambda images: space(into_range(images, "clamp")))
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-6)
    before = next(denoiser.parameters()).detach().clone()
    pieces = Start(torch.randn(chain.draws, batch, *shape)).split(1)
    mmd2 = float(replayed_gradient(pipeline, Objective(kernel, reference, SingleCollective()), pieces, 0))
    optimizer.step()
    moved = float((next(denoiser.parameters()) - before).detach().abs().max())
    return {"mmd2": mmd2, "moved": moved, "weights": sum(p.numel() for p in denoiser.parameters())}


def main(steps: str) -> None:
    unet = known_unet_config("google/ddpm-church-256")
    assert unet is not None
    found = update(unet, load_feature_space("inception", "lsun_church"), int(steps), batch=2, real=REAL)
    assert found["weights"] == WEIGHTS
    print(json.dumps({**found, "peak": peak()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
