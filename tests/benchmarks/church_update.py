"""One update at the size of LSUN-Church, on the CPU: `python -m tests.benchmarks.church_update STEPS`.

The U-Net of 113.7 million weights on 256 x 256 images and Inception-V3, both with random weights; batch 2, one image
in the network at a time. Prints the loss and the largest resident size of the process.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.features.registry import load_feature_space
from mmd_ddm.finetuning.gradient import Rollout, replayed_gradient
from mmd_ddm.finetuning.image_range import into_range
from mmd_ddm.finetuning.objective import BankReference, Objective
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.published import unet_config

MODEL, BATCH, SIDE, WEIGHTS, REAL = "google/ddpm-church-256", 2, 256, 113_673_219, 1000


def main(steps: str) -> None:
    torch.manual_seed(0)
    config = unet_config(MODEL)
    assert config is not None
    network = build_unet(config)
    weights = sum(p.numel() for p in network.parameters())
    assert weights == WEIGHTS
    schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
    denoiser, space = Denoiser(network, schedule, (3, SIDE, SIDE)), load_feature_space("inception", "lsun_church")
    chain, kernel = make_chain(schedule, steps=int(steps)), Cubic()
    real = torch.rand(REAL, space.dim)
    objective = Objective(kernel, BankReference(Bank(real), kernel, SingleCollective(), real), SingleCollective())
    pipeline = Rollout(denoiser, chain, lambda images: space(into_range(images, "clamp")))
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-6)
    before = next(denoiser.parameters()).detach().clone()
    noise = torch.randn(chain.draws, BATCH, 3, SIDE, SIDE)
    mmd2 = float(replayed_gradient(pipeline, objective, noise.split(1, dim=1), 0))
    optimizer.step()
    moved = float((next(denoiser.parameters()) - before).abs().max())
    print(json.dumps({"mmd2": mmd2, "moved": moved, "peak": _peak()}))


def _peak() -> int:
    status = Path("/proc/self/status")  # not rusage: a process inherits the peak of the one that started it
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
