"""An update of true size, with random weights: `python -m tests.benchmarks.real_size cifar10 [church] [--batch N] ...`

Random weights change neither time nor memory, and nothing is downloaded. Without a GPU name a small --batch, --steps
and --real. FLOPs are counted on a network without storage: products of matrices, convolutions and attention, forward,
backward and, where the chain is replayed, recomputed. The device's own rate is that of one large product in the same
precision. Network time is what is left of an update's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmd_ddm.compilation import Compiled, batches_of
from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.features.space import FeatureSpace
from mmd_ddm.finetuning import loop
from mmd_ddm.finetuning.checkpoint import TrainingState
from mmd_ddm.finetuning.ema import EMA
from mmd_ddm.finetuning.fitting import fitting_gradient
from mmd_ddm.finetuning.gradient import GRADIENTS, Rollout
from mmd_ddm.finetuning.image_range import into_range
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.finetuning.objective import BankReference, Objective, ValueAndGradient
from mmd_ddm.precision import BF16, FP32, TF32, use_tensor_cores
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.known_unets import known_unet_config
from tests.benchmarks.one_update import forget_peak, peak
from tests.benchmarks.table import show

DIM, GIB = 2048, 1 << 30
HUB = {"cifar10": "google/ddpm-cifar10-32", "church": "google/ddpm-church-256"}
BATCH = {"cifar10": 128, "church": 32}
WAYS = {"fp32": (FP32, False), "tf32": (TF32, False), "bf16": (BF16, False), "bf16 compiled": (BF16, True)}
PARTS = ("network", "features", "MMD", "Adam+EMA")  # shares of an update
HEAD = ("inside", "gradient", "s/update", "images/s", "peak GiB", "of matmul rate", *PARTS)


class Measured(NamedTuple):
    """Of one way to compute an update: medians, in seconds and bytes."""

    route: Route  # that fitted
    update: float
    features: float
    mmd: float
    optimizer: float
    peak: int
    loss: float

    @property
    def network(self) -> float:
        return self.update - self.features - self.mmd - self.optimizer


class Timed:
    """A function that remembers how long it took, the device's work included."""

    def __init__(self, function: Callable[..., ValueAndGradient], device: torch.device) -> None:
        self.function, self.device, self.seconds = function, device, list[float]()

    def __call__(self, features: Tensor, update: int) -> ValueAndGradient:
        with_gradient, seconds = timed(lambda: self.function(features, update), self.device)
        self.seconds.append(seconds)
        return with_gradient


def timed(work: Callable[[], ValueAndGradient], device: torch.device) -> tuple[ValueAndGradient, float]:
    wait(device)
    start = time.perf_counter()
    found = work()
    wait(device)
    return found, time.perf_counter() - start


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def levels_and_shape(unet: Mapping[str, object]) -> tuple[NoiseSchedule, tuple[int, int, int]]:
    side = unet["sample_size"]
    assert isinstance(side, int)
    levels = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
    return levels, (3, side, side)


def inception(side: int) -> FeatureSpace:
    from torchvision.models import inception_v3

    network = inception_v3(weights=None, init_weights=False, aux_logits=False)
    network.fc = nn.Identity()
    resized = nn.Sequential(nn.Upsample(size=(299, 299), mode="bilinear", align_corners=False), network)
    return FeatureSpace("inception", resized, torch.ones(DIM), (3, side, side))


def network_flops(unet: Mapping[str, object], route: str, steps: int) -> int:
    """Of one image in an update, the network's alone: forward, backward and recomputed."""
    with torch.device("meta"):
        network = build_unet(unet)
    levels, shape = levels_and_shape(unet)
    rollout = Rollout(Denoiser(network, levels, shape), make_chain(levels, steps=steps), lambda x: x.flatten(1))
    noise = torch.empty(1, 1, *shape, device="meta")
    with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
        GRADIENTS[route](rollout, _any_gradient, [Start(noise)], 0)
    return int(counted.get_total_flops())


def _any_gradient(features: Tensor, update: int) -> ValueAndGradient:
    return ValueAndGradient(torch.zeros((), device=features.device), torch.ones_like(features))


def matmul_rate(precision: str, device: torch.device, side: int) -> float:
    """FLOPs a second of a product of two square matrices."""
    use_tensor_cores(precision)
    dtype = torch.bfloat16 if precision == BF16 else torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(12):
        wait(device)
        start = time.perf_counter()
        _ = a @ b
        wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / statistics.median(seconds[2:])


def measure(
    unet: Mapping[str, object], space: FeatureSpace, way: str, route: str, *,
    batch: int, steps: int, real: int, updates: int, device: torch.device,
) -> Measured:  # fmt: skip
    """Run some updates of the project's own loop, after two in which it is compiled and algorithms are chosen."""
    precision, compiled = WAYS[way]
    use_tensor_cores(precision)
    torch.manual_seed(0)
    denoiser = Denoiser(build_unet(unet), *levels_and_shape(unet), precision, compiled).to(device).eval()
    chain, kernel = make_chain(denoiser.schedule, steps=steps), Cubic()
    bank = torch.rand(real, space.dim, device=device)
    objective = Objective(kernel, BankReference(Bank(bank), kernel, SingleCollective(), bank), SingleCollective())
    embed: Callable[[Tensor], Tensor] = Compiled(space) if compiled else space
    rollout = Rollout(denoiser, chain, lambda images: embed(into_range(images, "clamp")))
    adam = torch.optim.Adam(denoiser.parameters(), lr=5e-6)
    state = TrainingState(denoiser, adam, EMA(denoiser, 0.97), route=Route(route, batch))
    timed_objective, ends, losses = Timed(objective, device), list[float](), list[float]()

    def draw(update: int, size: int) -> tuple[Start, ...]:
        generator = torch.Generator().manual_seed(update)
        noise = torch.randn(chain.draws, batch, *denoiser.image_shape, generator=generator)
        return Start(noise).to(device).split(size)

    def compute(update: int) -> Tensor:
        assert state.route is not None
        value, state.route = fitting_gradient(rollout, timed_objective, state.route, lambda s: draw(update, s), update)
        return value

    def ended(record: loop.UpdateRecord) -> None:
        wait(device)
        ends.append(time.perf_counter())
        losses.append(record.loss)

    _forget_peak(device)
    loop.finetune(
        state, compute, updates=updates + 2, clip=1.0, collective=SingleCollective(), milestones=(), on_update=ended,
        on_milestone=lambda state: None,
    )  # fmt: skip
    most = _peak(device)
    assert state.route is not None
    taken = statistics.median(b - a for a, b in pairwise(ends[1:]))
    mmd = statistics.median(timed_objective.seconds[2:])
    images = chain.sample(denoiser, draw(0, state.route.micro_batch)[0].noise).detach()
    features = _features_seconds(embed, images, state.route, batch, device)
    return Measured(state.route, taken, features, mmd, _optimizer_seconds(state, device), most, losses[-1])


def _features_seconds(
    embed: Callable[[Tensor], Tensor], images: Tensor, route: Route, batch: int, device: torch.device
) -> float:
    """Of the passes of an update's images, forward and backward, and once more forward where they are replayed."""

    def pass_() -> ValueAndGradient:
        with batches_of(len(images)):
            if route.gradient == "replay":
                with torch.no_grad():
                    embed(images)
            embed(images.requires_grad_()).sum().backward()
        return _any_gradient(images, 0)

    seconds = [timed(pass_, device)[1] for _ in range(4)]
    return statistics.median(seconds[1:]) * batch / len(images)


def _optimizer_seconds(state: TrainingState, device: torch.device) -> float:
    def step() -> ValueAndGradient:
        nn.utils.clip_grad_norm_(state.denoiser.parameters(), 1.0)
        state.optimizer.step()
        assert state.ema is not None
        state.ema.update(state.denoiser, state.update)
        return _any_gradient(torch.zeros(1, device=device), 0)

    for parameter in state.denoiser.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return statistics.median([timed(step, device)[1] for _ in range(5)][1:])


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        forget_peak()


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else peak()


def table_of(
    unet: Mapping[str, object], space: FeatureSpace, ways: Sequence[str], *, batch: int, steps: int, real: int,
    updates: int, side: int, device: torch.device,
) -> list[list[object]]:  # fmt: skip
    """A row for each way and route: `HEAD`."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    rows: list[list[object]] = [list(HEAD)]
    sizes = {"batch": batch, "steps": steps, "real": real, "updates": updates}
    try:
        for way in ways:
            rate = matmul_rate(WAYS[way][0], device, side)
            for route in GRADIENTS:
                found = measure(unet, space, way, route, **sizes, device=device)
                if found.route.gradient != route:
                    rows.append([way, route, "does not fit", *[""] * (len(HEAD) - 3)])
                    continue
                share = batch * network_flops(unet, route, steps) / found.network / rate
                parts = [each / found.update for each in (found.network, found.features, found.mmd, found.optimizer)]
                rows.append([way, route, found.update, batch / found.update, found.peak / GIB, share, *parts])
                print(*rows[-1], file=sys.stderr, flush=True)  # compilation may take many minutes
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
    return rows


def show_size(name: str, ways: Sequence[str], *, batch: int, steps: int, real: int, updates: int, side: int) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unet = known_unet_config(HUB[name])
    assert unet is not None
    pixels = unet["sample_size"]
    assert isinstance(pixels, int)
    rows = table_of(
        unet, inception(pixels).to(device), ways, batch=batch, steps=steps, real=real, updates=updates, side=side,
        device=device,
    )  # fmt: skip
    on = torch.cuda.get_device_name() if device.type == "cuda" else f"the CPU, {torch.get_num_threads()} threads"
    show(f"an update of {name}'s size, N {batch}, S {steps}, M {real}, Inception, on {on}", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    gpu = torch.cuda.is_available()
    add("size", nargs="+", choices=HUB)
    add("--ways", default=",".join(WAYS) if gpu else "fp32,bf16", help=f"of {', '.join(WAYS)}, joined by commas")
    add("--batch", type=int, help="N [the paper's]")
    add("--steps", type=int, default=5, help="S [5]")
    add("--real", type=int, default=50_000, help="M [50000]")
    add("--updates", type=int, default=5, help="that are measured, after two [5]")
    add("--side", type=int, default=8192 if gpu else 1024, help="of the product that the device's rate is measured by")
    options = parser.parse_args()
    for name in options.size:
        show_size(
            name, options.ways.split(","), batch=options.batch or BATCH[name], steps=options.steps, real=options.real,
            updates=options.updates, side=options.side,
        )  # fmt: skip


if __name__ == "__main__":
    main()
