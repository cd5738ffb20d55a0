"""NVlabs' published networks of Karras et al. 2024 (EDM2): ImageNet of 64 pixels, and of 512 as latents.

The process is that of the authors' sampler, as for `edm`. The estimate of the loss at a noise level is left out: only
training has a use for it. Of the latents' autoencoder a file has no more than the name, and how they are normalised.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.architecture import Converted, unet_shapes
from mmd_ddm.pretrained.formats.edm_pickle import Persistent, holds, number, read_published, submodule, tensors_of
from mmd_ddm.pretrained.formats.ledger import Ledger
from mmd_ddm.pretrained.formats.noise_levels import LENGTH, SIGMA_MAX, SIGMA_MIN, noise_levels, scheduler_of
from mmd_ddm.pretrained.formats.stability_encoder import KIND as LATENTS
from mmd_ddm.pretrained.formats.stability_encoder import NormalisedLatents, read_latents
from mmd_ddm.pretrained.unet_size import check_size
from mmd_ddm.records import Record

NAME = "edm2"
_OUTER, _NETWORK, _LAYER = "Precond", "UNet", "MPConv"
_PIXELS = "StandardRGBEncoder"
_DEFAULTS: Mapping[str, object] = {  # the settings of a network that need not be given
    "model_channels": 192, "channel_mult": [1, 2, 3, 4], "channel_mult_noise": None, "channel_mult_emb": None,
    "num_blocks": 3, "attn_resolutions": [16, 8], "label_balance": 0.5, "concat_balance": 0.5,
    "resample_filter": [1, 1], "channels_per_head": 64, "dropout": 0, "res_balance": 0.3, "attn_balance": 0.3,
    "clip_act": 256,
}  # fmt: skip
_NEEDED = {"img_resolution", "img_channels", "label_dim"}
_SHARES = ("label_balance", "concat_balance", "res_balance", "attn_balance")
_UNUSED = ("logvar_fourier.", "logvar_linear.")


def recognises(path: Path) -> bool:
    """Whether a file is of the format: a plain pickle with objects of these classes of NVlabs."""
    return holds(path, _LAYER)


def convert(path: Path, length: int = LENGTH) -> Converted:
    """Convert a file of the format, its process cut into some number of timesteps.

    Raises:
        UserError: it cannot be read without running code of it, or is of another architecture.
    """
    sigmas = noise_levels(SIGMA_MIN, SIGMA_MAX, length)
    published = read_published(path)
    outer = published.network
    if outer.kind != _OUTER:
        raise UserError(f"{path} holds a {outer.kind}; supported is {_OUTER} of EDM2")
    inner = submodule(outer, "unet")
    if inner.kind != _NETWORK:
        raise UserError(f"{path} holds a network {inner.kind}; only {_NETWORK} of EDM2 is supported")
    attributes = Record({name: number(value) for name, value in outer.state.items()}, f"{path}, {outer.kind},")
    settings = _settings(inner, path)
    for name in sorted(_NEEDED):
        if (within := settings.whole(name)) != (around := attributes.whole(name)):
            raise UserError(f"the network in {path} has a {name} of {within}, and what is around it one of {around}")
    config = {**_config(settings, path), "sigma_data": attributes.number("sigma_data", 1e-6, 1e6)}
    config["num_train_timesteps"] = length
    latents = _latents(published.encoder, settings.whole("img_channels"), path)
    return Converted(config, _weights(tensors_of(outer), config, sigmas), scheduler_of(sigmas, "v_prediction"), latents)


def _latents(encoder: Persistent | None, channels: int, path: Path) -> NormalisedLatents | None:
    if encoder is None or encoder.kind == _PIXELS:
        return None
    if encoder.kind != LATENTS:
        raise UserError(f"the network in {path} makes what a {encoder.kind} decodes; known are {_PIXELS} and {LATENTS}")
    return read_latents(encoder, channels, path)


def _settings(inner: Persistent, path: Path) -> Record:
    if unknown := sorted(set(inner.settings) - set(_DEFAULTS) - _NEEDED):
        raise UserError(f"the network in {path} has a setting {unknown[0]}, which is none of EDM2's {inner.kind}")
    given = {name: number(value) for name, value in inner.settings.items()}
    given |= {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
    return Record({**_DEFAULTS, **given}, f"{path}, {inner.kind},")


def _config(settings: Record, path: Path) -> dict[str, object]:
    if (taps := settings.wholes("resample_filter")) != [1, 1]:
        raise UserError(f"the network in {path} has a resample_filter of {taps}; supported is [1, 1], the published")
    if not (widths := [settings.whole("model_channels", 1) * each for each in settings.wholes("channel_mult")]):
        raise UserError(f"the network in {path} has no levels: its channel_mult is empty")
    channels, classes = settings.whole("img_channels", 1), settings.whole("label_dim")
    config: dict[str, object] = {
        "sample_size": settings.whole("img_resolution", 1),
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": tuple(widths),
        "layers_per_block": settings.whole("num_blocks", 1),
        "attention_resolutions": tuple(settings.wholes("attn_resolutions")),
        "attention_head_dim": settings.whole("channels_per_head", 1),
        "dropout": settings.number("dropout", 0, 1),
        "noise_channels": _times(settings, "channel_mult_noise", widths[0]),
        "embedding_channels": _times(settings, "channel_mult_emb", max(widths)),
        **{name: settings.number(name, 0, 1) for name in _SHARES},
        "clip_act": settings.number("clip_act", 0) if "clip_act" in settings else None,
        **({"num_class_embeds": classes} if classes else {}),
    }
    check_size(config, path)
    return config


def _times(settings: Record, name: str, default: int) -> int:
    return settings.whole("model_channels") * settings.whole(name, 1) if name in settings else default


def _weights(tensors: Mapping[str, Tensor], config: Mapping[str, object], sigmas: Tensor) -> dict[str, Tensor]:
    ledger = Ledger({name: tensor for name, tensor in tensors.items() if not name.startswith(_UNUSED)}, NAME)
    for name in tensors:
        if name in ledger:
            ledger.put(name.removeprefix("unet."), ledger.take(name).contiguous(), name)
    ledger.put("sigmas", sigmas.float(), "sigmas")
    try:
        shapes = unet_shapes(config)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"this is no {NAME} network that can be built: {error}") from None
    return ledger.close(shapes)
