"""Published networks that are known before they are downloaded: the paper's base models, and two latent models."""

from __future__ import annotations

from collections.abc import Mapping

from mmd_ddm.pretrained.autoencoder_config import AUTOENCODER_KL, VQ_MODEL
from mmd_ddm.pretrained.catalogue import LEFT_OUT
from mmd_ddm.pretrained.formats import ddim
from mmd_ddm.pretrained.formats.architecture import Architecture, Untold

_LSUN = (3, (1, 1, 2, 2, 4, 4), 2, (False, False, False, False, True, False))  # of CelebA-HQ too
# channels that are made of 3, widths over 128 and blocks of the levels, which of them have attention:
# Ho et al. 2020, Appendix B; Song et al. 2021, Appendix D; Nichol & Dhariwal 2021, Appendix A
_UNETS: Mapping[str, tuple[int, tuple[int, ...], int, tuple[bool, ...]]] = {
    "google/ddpm-cifar10-32": (3, (1, 2, 2, 2), 2, (False, True, False, False)),
    **{name: _LSUN for name in LEFT_OUT if name.startswith("google/") and name.endswith("-256")},
    "celeba64-ddim": (3, (1, 2, 2, 2, 4), 2, (False, False, True, False, False)),
    "imagenet64-improved-diffusion": (6, (1, 2, 3, 4), 3, (False, False, True, True)),
}
_LDM, _DIT = "CompVis/ldm-celebahq-256", "facebook/DiT-XL-2-256"
_LATENT: Mapping[str, Mapping[str, object]] = {  # as their configs have them
    # Rombach et al. 2022, Table 12
    _LDM: {
        "sample_size": 64, "in_channels": 3, "out_channels": 3, "block_out_channels": (224, 448, 672, 896),
        "layers_per_block": 2, "attention_head_dim": 32, "norm_eps": 1e-5,
        "down_block_types": ("DownBlock2D", *("AttnDownBlock2D",) * 3),
        "up_block_types": (*("AttnUpBlock2D",) * 3, "UpBlock2D"),
    },
    # Peebles & Xie 2023, Table 1; it predicts epsilon and a variance
    _DIT: {
        "sample_size": 32, "in_channels": 4, "out_channels": 8, "num_layers": 28, "num_attention_heads": 16,
        "attention_head_dim": 72, "patch_size": 2, "num_embeds_ada_norm": 1000,
    },
}  # fmt: skip
_AUTOENCODERS: Mapping[str, tuple[str, tuple[int, ...], Mapping[str, object]]] = {  # class, widths, what else differs
    _LDM: (VQ_MODEL, (128, 256, 512), {"latent_channels": 3, "num_vq_embeddings": 8192}),
    _DIT: (AUTOENCODER_KL, (128, 256, 512, 512), {"latent_channels": 4}),
}
_NICHOL = {"resnet_time_scale_shift": "scale_shift", "num_attention_heads": 4, "attn_norm_num_groups": 32}


def known_unet_config(name: str) -> dict[str, object] | None:
    """The config of the network of one of these, by hub id or its name in the catalogue of data sets."""
    if name in _LATENT:
        return dict(_LATENT[name])
    if name not in _UNETS:
        return None
    made, widths, blocks, attention = _UNETS[name]
    config = Architecture(3, made, tuple(128 * width for width in widths), blocks, attention).config(Untold())
    return {**config, **(_NICHOL if made == 6 else ddim.SETTINGS)}


def known_autoencoder_config(name: str) -> dict[str, object] | None:
    """The config of the autoencoder of one of these that are latent models."""
    if name not in _AUTOENCODERS:
        return None
    kind, widths, others = _AUTOENCODERS[name]
    return {
        "_class_name": kind, "block_out_channels": widths, "layers_per_block": 2, "sample_size": 256, **others,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
    }  # fmt: skip
