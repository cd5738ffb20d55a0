"""A published network at its true size, with random weights: `python -m tests.pretrained.true_sizes NAME`.

Prints what one evaluation, and the replayed gradient of one image by one evaluation, need.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from mmd_ddm.diffusion.chain import Start
from mmd_ddm.diffusion.denoiser import Denoiser
from mmd_ddm.diffusion.labels import labels_in_turn
from mmd_ddm.diffusion.noise_schedule import NoiseSchedule
from mmd_ddm.diffusion.samplers import make_chain
from mmd_ddm.finetuning.gradient import Rollout, replayed_gradient
from mmd_ddm.finetuning.objective import ValueAndGradient
from mmd_ddm.pretrained.autoencoder import build_decoder
from mmd_ddm.pretrained.configs import classes_of, null_class_of
from mmd_ddm.pretrained.formats import guided_diffusion, improved_diffusion
from mmd_ddm.pretrained.formats.architecture import Untold, build_unet
from mmd_ddm.pretrained.known_unets import known_autoencoder_config, known_unet_config
from tests.benchmarks.one_update import forget_peak, peak
from tests.pretrained.originals.numbered import numbered_shapes
from tests.pretrained.originals.structure import (
    ADM_IMAGENET_64,
    ADM_IMAGENET_128,
    ADM_LSUN,
    IMAGENET_CONDITIONAL,
    Structure,
)

EDM = {"stem_channels": 128, "block_out_channels": (256, 256, 256), "preconditioning": "edm"}
NCSN = {"embedding": "fourier", "noise_channels": 256, "residual_encoder": True, "resample_filter": (1, 3, 3, 1)}
EDM2 = {"sample_size": 64, "num_class_embeds": 1000, "concat_balance": 0.5}  # of size S


@dataclass(frozen=True)
class Published:
    """A network as it is published.

    Args:
        millions: of weights, tables of times left out.
        source: where that number is from.
        unet: its config, or its structure in the authors' terms; None: it is known by its name.
        untold: of a structure, what the file doesn't tell.
    """

    millions: float
    source: str
    unet: Mapping[str, object] | Structure | None = None
    untold: Untold = guided_diffusion.DEFAULTS

    def config(self, name: str) -> Mapping[str, object]:
        if isinstance(self.unet, Structure):
            weights = {name: torch.zeros(()).expand(shape) for name, shape in numbered_shapes(self.unet)}
            family = guided_diffusion if self.unet.resampling else improved_diffusion
            return family.convert(weights, self.untold).config
        found = known_unet_config(name) if self.unet is None else self.unet
        assert found is not None
        return found


ADM, ADM_CLOCK = "Dhariwal & Nichol 2021, Section 3 and appendices", Untold(beta_schedule="cosine", head_width=64)
PUBLISHED = {
    "google/ddpm-cifar10-32": Published(35.7, "Ho et al. 2020, Appendix B"),
    "google/ddpm-ema-celebahq-256": Published(113.7, "Ho et al. 2020, Appendix B"),
    "celeba64-ddim": Published(78.7, "the sum over its layers"),
    "imagenet64-improved-diffusion": Published(121.1, "the sum over its layers"),
    "improved-diffusion, ImageNet 64, conditional": Published(
        273.0, "the sum over its layers", IMAGENET_CONDITIONAL, improved_diffusion.DEFAULTS
    ),
    "guided-diffusion, ImageNet 64": Published(
        295.9, ADM, ADM_IMAGENET_64, replace(ADM_CLOCK, qkv_order="parts_first")
    ),
    "guided-diffusion, ImageNet 128": Published(421.5, ADM, ADM_IMAGENET_128, Untold(heads=4)),
    "guided-diffusion, LSUN 256": Published(552.8, ADM, ADM_LSUN),
    "guided-diffusion, ImageNet 256": Published(553.8, ADM, replace(ADM_LSUN, classes=1000)),
    "EDM, CIFAR-10, DDPM++": Published(55.7, "Karras et al. 2022, Table 7", EDM),
    "EDM, CIFAR-10, NCSN++": Published(56.4, "Karras et al. 2022, Table 7", {**EDM, **NCSN}),
    "edm2-img64-s": Published(280.2, "Karras et al. 2024, Table 5", EDM2),
    "CompVis/ldm-celebahq-256": Published(274.1, "Rombach et al. 2022, Table 12"),
    "facebook/DiT-XL-2-256": Published(749.8, "Peebles & Xie 2023, Table 4, with embeddings in each of 28 blocks"),
}


def build(name: str) -> Denoiser:
    """The network with random weights, none of them all zero, and its decoder if it has one."""
    config, autoencoder = PUBLISHED[name].config(name), known_autoencoder_config(name)
    network = build_unet(config)
    for weights in network.parameters():
        if not weights.any():  # as layers begin whose output is added to something
            nn.init.normal_(weights, std=0.02)
    schedule = NoiseSchedule(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
    side, channels = network.config.sample_size, network.config.in_channels
    decoder = None if autoencoder is None else build_decoder(autoencoder)
    return Denoiser(
        network, schedule, (channels, side, side), classes=classes_of(config), null_class=null_class_of(config),
        decoder=decoder,
    )  # fmt: skip


def measure(name: str) -> dict[str, float | bool | list[int]]:
    """Numbers of weights, what comes out, whether it is finite, and the process's largest sizes in bytes."""
    denoiser = build(name)
    forget_peak()
    there = peak()
    chain = make_chain(denoiser.schedule, steps=1, schedule="trailing")
    start = Start(torch.randn(1, 1, *denoiser.image_shape), labels_in_turn(denoiser.classes, 1))
    with torch.no_grad():
        image = chain.sample(denoiser, start.noise, start.labels)
    sampled = peak()

    def loss(features: torch.Tensor, update: int) -> ValueAndGradient:
        return ValueAndGradient(features.double().mean(), torch.full_like(features, 1 / features.numel()))

    forget_peak()
    replayed_gradient(Rollout(denoiser, chain, lambda images: images.flatten(1)), loss, [start], 0)
    gradients = [weights.grad for weights in denoiser.parameters() if weights.grad is not None]
    frozen = 0 if denoiser.decoder is None else sum(each.numel() for each in denoiser.decoder.parameters())
    tables = (each for part, each in denoiser.network.named_parameters() if part == "time_proj.weight")
    return {
        "weights": sum(each.numel() for each in denoiser.parameters()) - sum(each.numel() for each in tables),
        "frozen": frozen,
        "shape": list(image.shape),
        "finite": bool(image.isfinite().all()) and all(bool(each.isfinite().all()) for each in gradients),
        "spread": float(image.std()),
        "moved": sum(bool(each.any()) for each in gradients) / sum(1 for _ in denoiser.parameters()),
        "there": there,
        "sampled": sampled,
        "gradient": peak(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(json.dumps(measure(sys.argv[1])))
