"""The network of Karras et al. 2024 (EDM2, their Figure 21 and Appendix B), and how NVlabs' code writes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.pretrained.originals.edm_pickle import EasyDict, Persistent, write_edm
from tests.pretrained.originals.structure import Shapes, Weights, levels_of


@dataclass(frozen=True)
class EDM2Structure:
    """A network of NVlabs' files."""

    width: int
    multipliers: tuple[int, ...]
    blocks: int
    side: int
    attention: tuple[int, ...]  # sides
    head_width: int = 64
    classes: int = 0
    channels: int = 3
    given: tuple[tuple[str, object], ...] = ()  # further settings

    @property
    def levels(self) -> list[tuple[str, int, int]]:
        """Name, side and width of each."""
        return levels_of(self.side, self.width, self.multipliers)

    def settings(self) -> dict[str, object]:
        """Of the network."""
        return {
            "img_resolution": self.side, "img_channels": self.channels, "label_dim": self.classes,
            "model_channels": self.width, "channel_mult": list(self.multipliers), "num_blocks": self.blocks,
            "attn_resolutions": list(self.attention), "channels_per_head": self.head_width, "dropout": 0.1,
            **dict(self.given),
        }  # fmt: skip

    def setting(self, name: str, default: float) -> float:
        value = dict(self.given).get(name, default)
        assert isinstance(value, int | float)
        return value

    def attributes(self) -> dict[str, object]:
        """Of the preconditioning."""
        return {"img_resolution": self.side, "img_channels": self.channels, "label_dim": self.classes,
                "use_fp16": True, "sigma_data": 0.5}  # fmt: skip


IMAGENET_64_S = EDM2Structure(192, (1, 2, 3, 4), 3, 64, (16, 8), classes=1000)
IMAGENET_512_XS = EDM2Structure(128, (1, 2, 3, 4), 3, 64, (16, 8), classes=1000, channels=4)


def edm2_shapes(s: EDM2Structure) -> Shapes:
    """Names and shapes of the parameters, and of the frequencies and phases."""
    first_width, embedding = s.levels[0][2], max(width for _, _, width in s.levels)

    def block(name: str, inputs: int, outputs: int, first: int, attention: bool = False) -> Shapes:
        yield f"{name}.emb_gain", ()
        yield f"{name}.conv_res0.weight", (outputs, first, 3, 3)
        yield f"{name}.emb_linear.weight", (outputs, embedding)
        yield f"{name}.conv_res1.weight", (outputs, outputs, 3, 3)
        if inputs != outputs:
            yield f"{name}.conv_skip.weight", (outputs, inputs, 1, 1)
        if attention:
            yield f"{name}.attn_qkv.weight", (3 * outputs, outputs, 1, 1)
            yield f"{name}.attn_proj.weight", (outputs, outputs, 1, 1)

    yield "unet.out_gain", ()
    yield from (("unet.emb_fourier.freqs", (first_width,)), ("unet.emb_fourier.phases", (first_width,)))
    yield "unet.emb_noise.weight", (embedding, first_width)
    if s.classes:
        yield "unet.emb_label.weight", (embedding, s.classes)
    now, skips = first_width, [first_width]
    yield f"unet.enc.{s.levels[0][0]}_conv.weight", (now, s.channels + 1, 3, 3)
    for name, side, width in s.levels:
        if side < s.side:
            yield from block(f"unet.enc.{name}_down", now, now, now)
            skips.append(now)
        for n in range(s.blocks):
            yield from block(f"unet.enc.{name}_block{n}", now, width, width, side in s.attention)
            now = width
            skips.append(now)
    for level, (name, side, width) in reversed(list(enumerate(s.levels))):
        if level + 1 == len(s.levels):
            yield from block(f"unet.dec.{name}_in0", now, now, now, True)
            yield from block(f"unet.dec.{name}_in1", now, now, now)
        else:
            yield from block(f"unet.dec.{name}_up", now, now, now)
        for n in range(s.blocks + 1):
            joined = now + skips.pop()
            yield from block(f"unet.dec.{name}_block{n}", joined, width, joined, side in s.attention)
            now = width
    yield "unet.out_conv.weight", (s.channels, now, 3, 3)
    yield from (("logvar_fourier.freqs", (128,)), ("logvar_fourier.phases", (128,)), ("logvar_linear.weight", (1, 128)))


def edm2_weights(s: EDM2Structure, seed: int = 0) -> Weights:
    """Random weights in half precision, as the files have them; gains are not 0, as they are before training."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(shape, generator=generator) * (2 * math.pi if "fourier" in name else 1)).half()
        for name, shape in edm2_shapes(s)
    }


def edm2_denoiser(s: EDM2Structure, weights: Weights) -> Callable[..., Tensor]:
    """D(x; sigma) of images x_0 + sigma epsilon, (N,) noise levels and, if it knows classes, (N, classes) labels."""

    def normalised(x: Tensor, dims: list[int]) -> Tensor:
        count = math.prod(x.shape[dim] for dim in dims)
        return x / (1e-4 + (x**2).sum(dims, keepdim=True).sqrt() / math.sqrt(count))

    def multiplied(name: str, x: Tensor, gain: Tensor | float = 1) -> Tensor:
        w = weights[f"{name}.weight"]
        rows = normalised(w.flatten(1), [1]) * gain / math.sqrt(w[0].numel())
        if w.dim() == 2:
            return x @ rows.T
        return functional.conv2d(x, rows.view_as(w), padding=w.shape[-1] // 2)

    def silu(x: Tensor) -> Tensor:
        return x * x.sigmoid() / 0.596

    def mixed(a: Tensor, b: Tensor, t: float) -> Tensor:
        return (a + t * (b - a)) / math.sqrt((1 - t) ** 2 + t**2)

    def joined(a: Tensor, b: Tensor) -> Tensor:
        t, na, nb = s.setting("concat_balance", 0.5), a.shape[1], b.shape[1]
        c = math.sqrt((na + nb) / ((1 - t) ** 2 + t**2))
        return torch.cat([a * c * (1 - t) / math.sqrt(na), b * c * t / math.sqrt(nb)], 1)

    def resampled(name: str, x: Tensor) -> Tensor:
        if name.endswith("_down"):
            return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) if name.endswith("_up") else x

    def skipped(name: str, x: Tensor) -> Tensor:
        return multiplied(f"{name}.conv_skip", x) if f"{name}.conv_skip.weight" in weights else x

    def block(name: str, x: Tensor, embedding: Tensor) -> Tensor:
        x, is_encoder = resampled(name, x), ".enc." in name
        if is_encoder:
            x = normalised(skipped(name, x), [1])
        y = multiplied(f"{name}.conv_res0", silu(x))
        c = multiplied(f"{name}.emb_linear", embedding, weights[f"{name}.emb_gain"]) + 1
        y = multiplied(f"{name}.conv_res1", silu(y * c[:, :, None, None]))
        x = mixed(x if is_encoder else skipped(name, x), y, s.setting("res_balance", 0.3))
        if f"{name}.attn_qkv.weight" in weights:
            heads = x.shape[1] // s.head_width
            y = multiplied(f"{name}.attn_qkv", x).reshape(len(x), heads, -1, 3, x.shape[2] * x.shape[3])
            q, k, v = normalised(y, [2]).unbind(3)
            w = torch.einsum("nhcq,nhck->nhqk", q, k / math.sqrt(q.shape[2])).softmax(3)
            y = torch.einsum("nhqk,nhck->nhcq", w, v).reshape(x.shape)
            x = mixed(x, multiplied(f"{name}.attn_proj", y), s.setting("attn_balance", 0.3))
        limit = s.setting("clip_act", 256)
        return x.clamp(-limit, limit)

    def network(x: Tensor, noise: Tensor, labels: Tensor | None) -> Tensor:
        angles = torch.outer(noise, weights["unet.emb_fourier.freqs"]) + weights["unet.emb_fourier.phases"]
        embedding = multiplied("unet.emb_noise", math.sqrt(2) * angles.cos())
        if labels is not None:
            told = multiplied("unet.emb_label", labels * math.sqrt(s.classes))
            embedding = mixed(embedding, told, s.setting("label_balance", 0.5))
        embedding = silu(embedding)
        x = multiplied(f"unet.enc.{s.levels[0][0]}_conv", torch.cat([x, torch.ones_like(x[:, :1])], 1))
        skips = [x]
        for name, side, _ in s.levels:
            for kind in (["down"] if side < s.side else []) + [f"block{n}" for n in range(s.blocks)]:
                x = block(f"unet.enc.{name}_{kind}", x, embedding)
                skips.append(x)
        for level, (name, _, _) in reversed(list(enumerate(s.levels))):
            for kind in ("in0", "in1") if level + 1 == len(s.levels) else ("up",):
                x = block(f"unet.dec.{name}_{kind}", x, embedding)
            for n in range(s.blocks + 1):
                x = block(f"unet.dec.{name}_block{n}", joined(x, skips.pop()), embedding)
        return multiplied("unet.out_conv", x, weights["unet.out_gain"])

    def denoise(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        level = sigma.view(-1, 1, 1, 1)
        skip, out = 0.25 / (level**2 + 0.25), level * 0.5 / (level**2 + 0.25).sqrt()
        return skip * x + out * network(x / (0.25 + level**2).sqrt(), sigma.log() / 4, labels)

    return denoise


def edm2_content(s: EDM2Structure, weights: Weights) -> EasyDict:
    """What a published file holds: the network as a tree of persistent objects, and what decodes its images."""
    outer = Persistent("Precond", {"use_fp16": True, **s.settings()}, **s.attributes())
    outer.unet = Persistent("UNet", s.settings(), label_balance=0.5, concat_balance=0.5)
    outer.unet.emb_label = None
    outer.unet.enc, outer.unet.dec = nn.ModuleDict(), nn.ModuleDict()
    for name, tensor in weights.items():
        *path, leaf = name.split(".")
        module: nn.Module = outer
        for part in path:
            if module._modules.get(part) is None:
                is_layer = f"{name.split(part)[0]}{part}.weight" in weights
                kind = "MPConv" if is_layer else "MPFourier" if "fourier" in part else "Block"
                module.__dict__.pop(part, None)
                module.add_module(part, Persistent(kind, {}, resample_filter=[1, 1], clip_act=256))
            module = module._modules[part]
        if leaf in ("freqs", "phases"):
            module.register_buffer(leaf, tensor.clone())
        else:
            module.register_parameter(leaf, nn.Parameter(tensor.clone(), requires_grad=False))
    return EasyDict(
        ema=outer.eval(),
        encoder=Persistent("StandardRGBEncoder", {}),
        dataset_kwargs=EasyDict(class_name="training.dataset.ImageFolderDataset", path="img64.zip", use_labels=True),
        loss_fn=Persistent("EDM2Loss", {"P_mean": -0.8}, P_mean=-0.8, P_std=np.float64(1.6), sigma_data=0.5),
    )


def write_edm2(path: Path, s: EDM2Structure, weights: Weights, protocol: int = 4) -> Path:
    """Write a file as published."""
    return write_edm(path, edm2_content(s, weights), protocol)
