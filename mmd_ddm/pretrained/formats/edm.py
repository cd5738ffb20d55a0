"""NVlabs' published networks of Karras et al. 2022 (EDM): CIFAR-10 with and without classes, FFHQ, AFHQv2, VP and VE.

The process is that of the authors' sampler: noise levels with even steps of sigma^(1/7) (Equation 5), from 0.002 to 80
as far as the network was made for them (Table 1). The embedding of augmentations is left out: it is 0 where images are
sampled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.formats.architecture import Converted, unet_shapes
from mmd_ddm.pretrained.formats.edm_pickle import Persistent, holds, number, read_network, submodule, tensors_of
from mmd_ddm.pretrained.formats.ledger import Ledger
from mmd_ddm.pretrained.formats.noise_levels import LENGTH, SIGMA_MAX, SIGMA_MIN, noise_levels, scheduler_of
from mmd_ddm.pretrained.unet_size import check_size
from mmd_ddm.records import Record

NAME = "edm"
_PRECONDITIONINGS = {"EDMPrecond": "edm", "VPPrecond": "vp", "VEPrecond": "ve"}
_NETWORK = "SongUNet"
_DEFAULTS: Mapping[str, object] = {  # the settings of a SongUNet that need not be given
    "label_dim": 0, "augment_dim": 0, "model_channels": 128, "channel_mult": [1, 2, 2, 2], "channel_mult_emb": 4,
    "num_blocks": 4, "attn_resolutions": [16], "dropout": 0.1, "label_dropout": 0, "embedding_type": "positional",
    "channel_mult_noise": 1, "encoder_type": "standard", "decoder_type": "standard", "resample_filter": [1, 1],
}  # fmt: skip
_NEEDED = {"img_resolution", "in_channels", "out_channels"}
_FILTER = "resample_filter"
_UNUSED = "model.map_augment.weight"


def recognises(path: Path) -> bool:
    """Whether a file is of the format: a plain pickle with an object of NVlabs' classes."""
    return holds(path)


def convert(path: Path, length: int = LENGTH) -> Converted:
    """Convert a file of the format, its process cut into some number of timesteps.

    Raises:
        UserError: it cannot be read without running code of it, or is of another architecture.
    """
    outer = read_network(path)
    if outer.kind not in _PRECONDITIONINGS:
        raise UserError(f"{path} holds a {outer.kind}; supported are {', '.join(_PRECONDITIONINGS)}")
    inner = submodule(outer, "model")
    if inner.kind != _NETWORK:
        raise UserError(f"{path} holds a network {inner.kind}; only {_NETWORK} is supported")
    settings = _settings(inner, path)
    classes, said = settings.whole("label_dim"), _attributes(outer, path).whole("label_dim")
    if classes != said:
        raise UserError(f"the network in {path} has a label_dim of {classes}, and what is around it one of {said}")
    config, sigmas = _config(outer, settings, path, length), _sigmas(outer, path, length)
    weights = _weights(tensors_of(outer), config, sigmas)
    prediction_type = "v_prediction" if config["preconditioning"] == "edm" else "epsilon"
    return Converted(config, weights, scheduler_of(sigmas, prediction_type))


def _attributes(outer: Persistent, path: Path) -> Record:
    return Record({name: number(value) for name, value in outer.state.items()}, f"{path}, {outer.kind},")


def _settings(inner: Persistent, path: Path) -> Record:
    if unknown := sorted(set(inner.settings) - set(_DEFAULTS) - _NEEDED):
        raise UserError(f"the network in {path} has a setting {unknown[0]}, which is none of {inner.kind}'s")
    given = {name: number(value) for name, value in inner.settings.items()}
    given |= {name: list(value) for name, value in given.items() if isinstance(value, tuple)}
    return Record({**_DEFAULTS, **given}, f"{path}, {inner.kind},")


def _config(outer: Persistent, settings: Record, path: Path, length: int) -> dict[str, object]:
    attributes, kind = _attributes(outer, path), _PRECONDITIONINGS[outer.kind]
    width = settings.whole("model_channels", 1)
    extra: dict[str, object] = {}
    if kind == "edm":
        extra = {"sigma_data": attributes.number("sigma_data", 1e-6, 1e6)}
    elif kind == "vp":
        extra = {name: attributes.number(name, 1e-6, 1e6) for name in ("beta_d", "beta_min")}
        extra["noise_steps"] = attributes.whole("M", 1)
    if classes := settings.whole("label_dim"):
        extra["num_class_embeds"] = classes
    config = {
        "sample_size": settings.whole("img_resolution", 1),
        "in_channels": settings.whole("in_channels", 1),
        "out_channels": settings.whole("out_channels", 1),
        "stem_channels": width,
        "block_out_channels": tuple(width * each for each in settings.wholes("channel_mult")),
        "layers_per_block": settings.whole("num_blocks", 1),
        "attention_resolutions": tuple(settings.wholes("attn_resolutions")),
        "dropout": settings.number("dropout", 0, 1),
        "embedding": settings.one_of("embedding_type", "positional", "fourier"),
        "noise_channels": width * settings.whole("channel_mult_noise", 1),
        "embedding_channels": width * settings.whole("channel_mult_emb", 1),
        "residual_encoder": settings.one_of("encoder_type", "standard", "residual") == "residual",
        "skip_decoder": settings.one_of("decoder_type", "standard", "skip") == "skip",
        "resample_filter": tuple(settings.wholes(_FILTER)),
        "preconditioning": kind,
        **extra,
        "num_train_timesteps": length,
    }
    check_size(config, path)
    return config


def _sigmas(outer: Persistent, path: Path, length: int) -> Tensor:
    attributes = _attributes(outer, path)
    low = max(SIGMA_MIN, attributes.number("sigma_min", 0))
    high = min(SIGMA_MAX, attributes.number("sigma_max", 0))
    if low >= high:
        raise UserError(f"the network in {path} is for noise levels from {low} to {high}, which are none")
    return noise_levels(low, high, length)


def _weights(tensors: Mapping[str, Tensor], config: Mapping[str, object], sigmas: Tensor) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in tensors.items() if name != _UNUSED}
    _check_filters((kept.pop(name) for name in tensors if name.endswith(f".{_FILTER}")), config)
    ledger = Ledger(kept, NAME)
    for name in kept:
        ledger.put(name.removeprefix("model."), ledger.take(name).contiguous(), name)
    ledger.put("sigmas", sigmas.float(), "sigmas")
    try:
        shapes = unet_shapes(config)
    except (ValueError, RuntimeError, TypeError) as error:
        raise UserError(f"this is no {NAME} network that can be built: {error}") from None
    return ledger.close(shapes)


def _check_filters(filters: Iterable[Tensor], config: Mapping[str, object]) -> None:
    taps = torch.tensor(config[_FILTER], dtype=torch.float32)
    expected = taps.outer(taps) / taps.sum() ** 2
    for found in filters:
        if found.shape != (1, 1, *expected.shape) or not torch.allclose(found.float(), expected):
            raise UserError(f"a filter in this {NAME} network is not what its setting {_FILTER} says")
