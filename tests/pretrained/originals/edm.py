"""The networks of Karras et al. 2022 (EDM): DDPM++ and NCSN++ (their Appendix F.2), and their Table 1 around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tests.pretrained.originals.structure import Shapes, Weights, draw, layer, levels_of


@dataclass(frozen=True)
class EDMStructure:
    """A network of NVlabs' files."""

    width: int
    multipliers: tuple[int, ...]
    blocks: int
    side: int
    attention: tuple[int, ...]  # sides
    ncsn: bool = False  # NCSN++: Fourier features, an encoder with a residual image, and a wider filter
    skip_decoder: bool = False
    preconditioning: str = "EDMPrecond"
    augmentations: int = 9
    channels: int = 3
    classes: int = 0

    @property
    def taps(self) -> list[int]:
        return [1, 3, 3, 1] if self.ncsn else [1, 1]

    @property
    def levels(self) -> list[tuple[str, int, int]]:
        """Name, side and width of each."""
        return levels_of(self.side, self.width, self.multipliers)

    def settings(self) -> dict[str, object]:
        """Of the network, as NVlabs' training script gives them."""
        return {
            "img_resolution": self.side, "in_channels": self.channels, "out_channels": self.channels,
            "label_dim": self.classes,
            "augment_dim": self.augmentations, "model_channels": self.width, "channel_mult": list(self.multipliers),
            "num_blocks": self.blocks, "attn_resolutions": list(self.attention), "dropout": 0.13,
            "embedding_type": "fourier" if self.ncsn else "positional", "channel_mult_noise": 1 + self.ncsn,
            "encoder_type": "residual" if self.ncsn else "standard",
            "decoder_type": "skip" if self.skip_decoder else "standard", "resample_filter": self.taps,
        }  # fmt: skip

    def attributes(self) -> dict[str, object]:
        """Of the preconditioning."""
        common: dict[str, object] = {
            "img_resolution": self.side,
            "img_channels": self.channels,
            "label_dim": self.classes,
            "use_fp16": True,
        }
        return common | {
            "EDMPrecond": {"sigma_min": 0, "sigma_max": math.inf, "sigma_data": 0.5},
            "VPPrecond": {
                "beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5, "sigma_min": 0.0010005,
                "sigma_max": 152.166,
            },
            "VEPrecond": {"sigma_min": 0.02, "sigma_max": 100},
        }[self.preconditioning]  # fmt: skip


# the paper's CIFAR-10 networks; Table 7
CIFAR_VP = EDMStructure(128, (2, 2, 2), 4, 32, (16,))
CIFAR_VE = EDMStructure(128, (2, 2, 2), 4, 32, (16,), ncsn=True)
FFHQ_VP = EDMStructure(128, (1, 2, 2, 2), 4, 64, (16,))


def edm_shapes(s: EDMStructure) -> Shapes:
    """Names and shapes of the parameters and of the frequencies, below the preconditioning."""
    noise, time = s.width * (1 + s.ncsn), 4 * s.width

    def block(name: str, inputs: int, outputs: int, resampled: bool = False, attention: bool = False) -> Shapes:
        yield from layer(f"{name}.norm0", inputs)
        yield from layer(f"{name}.conv0", outputs, inputs, 3, 3)
        yield from layer(f"{name}.affine", outputs, time)
        yield from layer(f"{name}.norm1", outputs)
        yield from layer(f"{name}.conv1", outputs, outputs, 3, 3)
        if resampled or inputs != outputs:
            yield from layer(f"{name}.skip", outputs, inputs, 1, 1)
        if attention:
            yield from layer(f"{name}.norm2", outputs)
            yield from layer(f"{name}.qkv", 3 * outputs, outputs, 1, 1)
            yield from layer(f"{name}.proj", outputs, outputs, 1, 1)

    if s.ncsn:
        yield "map_noise.freqs", (noise // 2,)
    if s.augmentations:
        yield "map_augment.weight", (noise, s.augmentations)
    if s.classes:
        yield from layer("map_label", noise, s.classes)
    yield from layer("map_layer0", time, noise)
    yield from layer("map_layer1", time, time)
    now, taken, skips = s.width, s.channels, [s.width]
    yield from layer(f"enc.{s.levels[0][0]}_conv", now, s.channels, 3, 3)
    for name, side, width in s.levels:
        if side < s.side:
            yield from block(f"enc.{name}_down", now, now, resampled=True)
            skips.append(now)
            if s.ncsn:
                yield from layer(f"enc.{name}_aux_residual", now, taken, 3, 3)
                taken = now
        for n in range(s.blocks):
            yield from block(f"enc.{name}_block{n}", now, width, attention=side in s.attention)
            now = width
            skips.append(now)
    for level, (name, side, width) in reversed(list(enumerate(s.levels))):
        if level + 1 == len(s.levels):
            yield from block(f"dec.{name}_in0", now, now, attention=True)
            yield from block(f"dec.{name}_in1", now, now)
        else:
            yield from block(f"dec.{name}_up", now, now, resampled=True)
        for n in range(s.blocks + 1):
            has = n == s.blocks and side in s.attention
            yield from block(f"dec.{name}_block{n}", now + skips.pop(), width, attention=has)
            now = width
        if s.skip_decoder or level == 0:
            yield from layer(f"dec.{name}_aux_norm", now)
            yield from layer(f"dec.{name}_aux_conv", s.channels, now, 3, 3)


def edm_weights(s: EDMStructure, seed: int = 0) -> Weights:
    """Random weights, with the constant filters of the layers that resample."""
    weights = draw(edm_shapes(s), seed)
    taps = torch.tensor(s.taps, dtype=torch.float32)
    kernel = (taps.outer(taps) / taps.sum() ** 2)[None, None]
    for name, side, _ in s.levels:
        if side < s.side:
            for part in ("down.conv0", "down.skip", *(["aux_residual"] if s.ncsn else [])):
                weights[f"enc.{name}_{part}.resample_filter"] = kernel.clone()
        if side > s.levels[-1][1]:
            for part in ("up.conv0", "up.skip"):
                weights[f"dec.{name}_{part}.resample_filter"] = kernel.clone()
            if s.skip_decoder:
                weights[f"dec.{name}_aux_up.resample_filter"] = kernel.clone()
    return {f"model.{name}": value for name, value in weights.items()}


def edm_denoiser(s: EDMStructure, weights: Weights) -> Callable[..., Tensor]:
    """D(x; sigma) of Table 1, a function of images x_0 + sigma epsilon, (N,) noise levels and, if it knows, labels."""
    inner = _network(s, {name.removeprefix("model."): value for name, value in weights.items()})

    def denoise(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        level = sigma.view(-1, 1, 1, 1)
        if s.preconditioning == "EDMPrecond":
            skip, out = 0.25 / (level**2 + 0.25), level * 0.5 / (level**2 + 0.25).sqrt()
            scale, noise = 1 / (0.25 + level**2).sqrt(), sigma.log() / 4
        elif s.preconditioning == "VPPrecond":
            skip, out, scale = torch.ones_like(level), -level, 1 / (level**2 + 1).sqrt()
            noise = 999 * ((0.1**2 + 2 * 19.9 * (1 + sigma**2).log()).sqrt() - 0.1) / 19.9
        else:
            skip, out, scale, noise = torch.ones_like(level), level, torch.ones_like(level), (0.5 * sigma).log()
        return skip * x + out * inner(scale * x, noise, labels)

    return denoise


def _network(s: EDMStructure, weights: Mapping[str, Tensor]) -> Callable[..., Tensor]:
    silu = functional.silu

    def conv(name: str, x: Tensor, padding: int = 1) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.group_norm(x, min(32, x.shape[1] // 4), weight, bias, eps=1e-6)

    def kernel(name: str, x: Tensor) -> Tensor:
        return weights[f"{name}.resample_filter"].tile(x.shape[1], 1, 1, 1)

    def halved(name: str, x: Tensor, padding: int) -> Tensor:
        return functional.conv2d(x, kernel(name, x), groups=x.shape[1], stride=2, padding=padding)

    def doubled(name: str, x: Tensor) -> Tensor:
        padding = len(s.taps) // 2 - 1
        return functional.conv_transpose2d(x, 4 * kernel(name, x), groups=x.shape[1], stride=2, padding=padding)

    def resampled(name: str, x: Tensor) -> Tensor:
        if f"{name}.resample_filter" not in weights:
            return x
        return doubled(name, x) if "_up." in name else halved(name, x, len(s.taps) // 2 - 1)

    def block(name: str, x: Tensor, time: Tensor) -> Tensor:
        h = conv(f"{name}.conv0", resampled(f"{name}.conv0", silu(norm(f"{name}.norm0", x))))
        h = silu(norm(f"{name}.norm1", h + linear(f"{name}.affine", time)[:, :, None, None]))
        h = conv(f"{name}.conv1", h)
        has = f"{name}.skip.weight" in weights
        h = (h + (conv(f"{name}.skip", resampled(f"{name}.skip", x), 0) if has else x)) / math.sqrt(2)
        if f"{name}.qkv.weight" not in weights:
            return h
        joint = conv(f"{name}.qkv", norm(f"{name}.norm2", h), 0).flatten(2)
        q, k, v = (joint[:, part::3] for part in range(3))
        scores = torch.einsum("ncq,nck->nqk", q, k / math.sqrt(q.shape[1])).softmax(2)
        mixed = torch.einsum("nqk,nck->ncq", scores, v).view_as(h)
        return (h + conv(f"{name}.proj", mixed, 0)) / math.sqrt(2)

    def embedding(noise: Tensor, labels: Tensor | None) -> Tensor:
        if s.ncsn:
            frequencies = 2 * math.pi * weights["map_noise.freqs"]
        else:
            frequencies = (1 / 10000) ** (torch.arange(s.width // 2, dtype=torch.float32) / (s.width // 2 - 1))
        angles = torch.outer(noise, frequencies.to(noise))
        time = torch.cat([angles.sin(), angles.cos()], 1)
        if labels is not None:  # a row of one_hot * sqrt(classes) times the weight's transpose
            time = time + math.sqrt(s.classes) * weights["map_label.weight"].T[labels] + weights["map_label.bias"]
        time = linear("map_layer0", time)
        return silu(linear("map_layer1", silu(time)))

    def network(x: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        time, image = embedding(noise, labels), x
        h = conv(f"enc.{s.levels[0][0]}_conv", x)
        skips = [h]
        for name, side, _ in s.levels:
            if side < s.side:
                h = block(f"enc.{name}_down", h, time)
                if s.ncsn:
                    aux = f"enc.{name}_aux_residual"
                    weight, bias = weights[f"{aux}.weight"], weights[f"{aux}.bias"]
                    image = functional.conv2d(image, weight, padding=1 + len(s.taps) // 2 - 1)
                    image = halved(aux, image, 0) + bias[:, None, None]
                    h = image = (h + image) / math.sqrt(2)
                skips.append(h)
            for n in range(s.blocks):
                h = block(f"enc.{name}_block{n}", h, time)
                skips.append(h)
        made = None
        for level, (name, _, _) in reversed(list(enumerate(s.levels))):
            for first in ("in0", "in1") if level + 1 == len(s.levels) else ("up",):
                h = block(f"dec.{name}_{first}", h, time)
            for n in range(s.blocks + 1):
                h = block(f"dec.{name}_block{n}", torch.cat([h, skips.pop()], 1), time)
            if made is not None and s.skip_decoder:
                made = doubled(f"dec.{name}_aux_up", made)
            if s.skip_decoder or level == 0:
                added = conv(f"dec.{name}_aux_conv", silu(norm(f"dec.{name}_aux_norm", h)))
                made = added if made is None else added + made
        return made

    return network
