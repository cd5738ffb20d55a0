"""The U-Nets of the paper's base models and others of their authors, known before they are downloaded."""

from __future__ import annotations

from collections.abc import Mapping

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
_NICHOL = {"resnet_time_scale_shift": "scale_shift", "num_attention_heads": 4, "attn_norm_num_groups": 32}


def known_unet_config(name: str) -> dict[str, object] | None:
    """The config of the U-Net of one of these, by hub id or its name in the catalogue of data sets."""
    if name not in _UNETS:
        return None
    made, widths, blocks, attention = _UNETS[name]
    config = Architecture(3, made, tuple(128 * width for width in widths), blocks, attention).config(Untold())
    return {**config, **(_NICHOL if made == 6 else ddim.SETTINGS)}
