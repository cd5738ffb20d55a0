"""One update of the paper's size: CIFAR-10's U-Net of 35.7 million weights, batch 128, S = 5, Inception-V3 features.

Weights are random: they change neither time nor memory, and nothing is downloaded.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.objective import BankReference, Objective
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.known_unets import known_unet_config
from tests.benchmarks.table import show

WEIGHTS, REAL, DIM, UPDATES = 35_746_307, 50_000, 2048, 5
PRECISIONS = ("fp32", "tf32", "bf16 autocast", "bf16 autocast, compiled")


class Autocast(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, timestep: Tensor) -> object:
        with torch.autocast(image.device.type, torch.bfloat16):
            output = self.network(image, timestep)
        output.sample = output.sample.float()
        return output


def denoiser_of(unet: Mapping[str, object], precision: str, device: torch.device) -> Denoiser:
    network: nn.Module = build_unet(unet)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if "compiled" in precision:
        network = torch.compile(network)
    if "bf16" in precision:
        network = Autocast(network)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    return Denoiser(network, NoiseSchedule(alpha_bar), (3, unet["sample_size"], unet["sample_size"])).to(device)


def inception() -> FeatureSpace:
    models = pytest.importorskip("torchvision").models
    network = models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    network.fc = nn.Identity()
    resized = nn.Sequential(nn.Upsample(size=(299, 299), mode="bilinear", align_corners=False), network)
    return FeatureSpace("inception", resized, torch.ones(DIM), (3, 32, 32))


def update_seconds(
    denoiser: Denoiser, space: FeatureSpace, route: str, *, batch: int, steps: int, real: int, updates: int
) -> tuple[float, float]:
    """Median seconds of an update, and the loss of the last."""
    device = next(denoiser.parameters()).device
    chain, kernel, seconds = make_chain(denoiser.schedule, steps=steps), Cubic(), []
    bank = torch.rand(real, space.dim, device=device)
    objective = Objective(kernel, BankReference(Bank(bank), kernel, SingleCollective(), bank), SingleCollective())
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-6)
    for update in range(updates + 2):
        noise = torch.randn(chain.draws, batch, *denoiser.image_shape, device=device)
        start = time.perf_counter()
        loss = GRADIENTS[route](Rollout(denoiser, chain, space), objective, [noise], update)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:]), float(loss)  # the first two compile, choose algorithms and fill caches


@pytest.mark.gpu
@pytest.mark.benchmark
def test_update_of_the_papers_size() -> None:
    unet, space = known_unet_config("google/ddpm-cifar10-32"), inception().to("cuda")
    assert unet is not None
    rows = [["precision of the network", "gradient", "s/update", "peak GiB"]]
    for precision in PRECISIONS:
        for route in GRADIENTS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            denoiser = denoiser_of(unet, precision, torch.device("cuda"))
            assert sum(p.numel() for p in denoiser.parameters()) == WEIGHTS
            try:
                median, _ = update_seconds(denoiser, space, route, batch=128, steps=5, real=REAL, updates=UPDATES)
                seconds = f"{median:.3f}"
            except torch.cuda.OutOfMemoryError:
                seconds = "does not fit"
            rows.append([precision, route, seconds, f"{torch.cuda.max_memory_allocated() / 2**30:.1f}"])
    show(f"an update of the paper's size on {torch.cuda.get_device_name()}", rows)
