"""How far the gradient in bfloat16 lies from that in float32, beside its own sampling noise, in degrees.

`python -m tests.benchmarks.angle digits cifar10`: the preset `best` on digits, and CIFAR-10's U-Net of 35.7 million
random weights in a space of random convolutions. The noise is the angle between the gradients of two batches.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import torch
from torch import Tensor

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.discrepancy.bank import Bank
from mmd_ddm.discrepancy.collective import SingleCollective
from mmd_ddm.discrepancy.kernels import Cubic
from mmd_ddm.experiment.build import Parts
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.update import UpdateGradient
from mmd_ddm.features.load import load_feature_space
from mmd_ddm.finetuning.fitting import fitting_gradient
from mmd_ddm.finetuning.gradient import Rollout
from mmd_ddm.finetuning.image_range import into_range
from mmd_ddm.finetuning.memory import Route
from mmd_ddm.finetuning.objective import BankReference, Objective
from mmd_ddm.precision import BF16, FP32
from mmd_ddm.pretrained.formats.architecture import build_unet
from mmd_ddm.pretrained.known_unets import known_unet_config
from tests.benchmarks.real_size import HUB, levels_and_shape
from tests.benchmarks.table import show

Gradient = Callable[[str, bool, int], Tensor]  # in a precision, compiled or not, of an update


def degrees(a: Tensor, b: Tensor) -> float:
    a, b = a.double(), b.double()
    return math.degrees(math.acos(min(1.0, float(a @ b / (a.norm() * b.norm())))))


def flat(denoiser: Denoiser) -> Tensor:
    return torch.cat([p.grad.flatten() for p in denoiser.parameters() if p.grad is not None])


def of_digits(batch: int, micro: int) -> Gradient:
    def gradient(precision: str, compiled: bool, update: int) -> Tensor:
        settings = {"precision": precision, "compile": "on" if compiled else "off", "batch": batch}
        parts = Parts(preset("best", "digits").replace(**settings), torch.device("cpu"))
        UpdateGradient(parts).compute(Route("replay", micro), update)
        return flat(parts.denoiser)

    return gradient


def of_true_size(batch: int, micro: int, steps: int) -> Gradient:
    unet = known_unet_config(HUB["cifar10"])
    assert unet is not None
    levels, shape = levels_and_shape(unet)
    torch.manual_seed(0)
    network, chain, kernel = build_unet(unet).eval(), make_chain(levels, steps=steps), Cubic()
    space = load_feature_space("random_conv", "cifar10", image_shape=shape)
    with torch.no_grad():
        real = space(torch.rand(256, *shape) * 2 - 1)
    objective = Objective(kernel, BankReference(Bank(real), kernel, SingleCollective(), real), SingleCollective())

    def gradient(precision: str, compiled: bool, update: int) -> Tensor:
        denoiser = Denoiser(network, levels, shape, precision, compiled)
        denoiser.zero_grad()
        noise = torch.randn(chain.draws, batch, *shape, generator=torch.Generator().manual_seed(update))
        rollout = Rollout(denoiser, chain, lambda images: space(into_range(images, "clamp")))
        fitting_gradient(rollout, objective, Route("replay", micro), lambda size: Start(noise).split(size), update)
        return flat(denoiser)

    return gradient


def angles(gradient: Gradient, compiled: bool) -> list[list[object]]:
    whole = gradient(FP32, False, 0)
    rows: list[list[object]] = [["", "degrees"], ["fp32, another batch", degrees(whole, gradient(FP32, False, 1))]]
    for with_compiler in (False, True) if compiled else (False,):
        name = "bf16 compiled" if with_compiler else "bf16"
        rows.append([name, degrees(whole, gradient(BF16, with_compiler, 0))])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("what", nargs="+", choices=("digits", "cifar10"))
    add("--batch", type=int, default=128)
    add("--micro", type=int, default=32)
    add("--steps", type=int, default=5, help="S of cifar10")
    add("--compiled", action="store_true", help="measure compiled networks too")
    options = parser.parse_args()
    for name in options.what:
        digits = of_digits(options.batch, options.micro)
        gradient = digits if name == "digits" else of_true_size(options.batch, options.micro, options.steps)
        show(f"{name}, N {options.batch}: angle to the gradient in fp32", angles(gradient, options.compiled))


if __name__ == "__main__":
    main()
