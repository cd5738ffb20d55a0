"""The architectures of the paper's base models, for what has to be known of them before they are downloaded."""

from __future__ import annotations

from collections.abc import Mapping

from mmd_ddm.pretrained.formats.architecture import Architecture, Untold

_HO = {
    "attention_head_dim": None, "norm_eps": 1e-6, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip
_NICHOL = {"resnet_time_scale_shift": "scale_shift", "num_attention_heads": 4, "attn_norm_num_groups": 32}


def _widths(*multiples: int) -> tuple[int, ...]:
    return tuple(128 * multiple for multiple in multiples)


# Ho et al. 2020, Appendix B; Song et al. 2021, Appendix D; Nichol & Dhariwal 2021, Appendix A
ARCHITECTURES: Mapping[str, tuple[Architecture, Mapping[str, object]]] = {
    "google/ddpm-cifar10-32": (Architecture(3, 3, _widths(1, 2, 2, 2), 2, (False, True, False, False)), _HO),
    "google/ddpm-church-256": (Architecture(3, 3, _widths(1, 1, 2, 2, 4, 4), 2, (False,) * 4 + (True, False)), _HO),
    "celeba64-ddim": (Architecture(3, 3, _widths(1, 2, 2, 2, 4), 2, (False, False, True, False, False)), _HO),
    "imagenet64-improved-diffusion": (Architecture(3, 6, _widths(1, 2, 3, 4), 3, (False, False, True, True)), _NICHOL),
}


def unet_config(name: str) -> dict[str, object] | None:
    """The config of a base model's U-Net, as `UNet2DModel` or `MultiHeadUNet2DModel` takes it.

    Args:
        name: hub id, or the name that the catalogue of data sets gives it.

    Returns:
        None for a model that is not of the paper.
    """
    if name not in ARCHITECTURES:
        return None
    architecture, others = ARCHITECTURES[name]
    return {**architecture.config(Untold()), **others}
