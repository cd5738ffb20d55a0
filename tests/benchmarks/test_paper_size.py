"""One update of the paper's size: CIFAR-10's U-Net of 35.7 million weights, batch 128, S = 5, Inception-V3 features.

Weights are random: they change neither time nor memory, and nothing is downloaded.
"""

from __future__ import annotations

import statistics
import time

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
from tests.benchmarks.table import show

pytestmark = [pytest.mark.gpu, pytest.mark.benchmark]
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


def denoiser_of(precision: str, device: torch.device) -> Denoiser:
    from diffusers import UNet2DModel

    network: nn.Module = UNet2DModel(
        sample_size=32, in_channels=3, out_channels=3, layers_per_block=2, block_out_channels=(128, 256, 256, 256),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), downsample_padding=0,
        flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6, attention_head_dim=None,
    ).eval()  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) == WEIGHTS
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if "compiled" in precision:
        network = torch.compile(network)
    if "bf16" in precision:
        network = Autocast(network)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    return Denoiser(network, NoiseSchedule(alpha_bar), (3, 32, 32)).to(device)


def inception() -> FeatureSpace:
    models = pytest.importorskip("torchvision").models
    network = models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    network.fc = nn.Identity()
    resized = nn.Sequential(nn.Upsample(size=(299, 299), mode="bilinear", align_corners=False), network)
    return FeatureSpace("inception", resized, torch.ones(DIM), (3, 32, 32))


def update_seconds(precision: str, route: str, device: torch.device, batch: int, steps: int, updates: int) -> float:
    denoiser, space = denoiser_of(precision, device), inception().to(device)
    chain, kernel, seconds = make_chain(denoiser.schedule, steps=steps), Cubic(), []
    bank = Bank(torch.rand(REAL, DIM, device=device))
    objective = Objective(kernel, BankReference(bank, kernel), SingleCollective())
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-6)
    for update in range(updates + 2):
        noise = torch.randn(chain.draws, batch, 3, 32, 32, device=device)
        start = time.perf_counter()
        GRADIENTS[route](Rollout(denoiser, chain, space), objective, [noise], update)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])  # the first two compile, choose algorithms and fill caches


def test_update_of_the_papers_size() -> None:
    device, rows = torch.device("cuda"), [["precision of the network", "gradient", "s/update", "peak GiB"]]
    for precision in PRECISIONS:
        for route in GRADIENTS:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            try:
                seconds = f"{update_seconds(precision, route, device, batch=128, steps=5, updates=UPDATES):.3f}"
            except torch.cuda.OutOfMemoryError:
                seconds = "does not fit"
            rows.append([precision, route, seconds, f"{torch.cuda.max_memory_allocated() / 2**30:.1f}"])
    show(f"an update of the paper's size on {torch.cuda.get_device_name()}", rows)
