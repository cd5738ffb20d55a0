"""The classes of networks that are loaded, finetuned and exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from diffusers import UNet2DModel


def network_classes() -> dict[str, type[UNet2DModel]]:
    """All of them by name: diffusers' own, and the project's, of which a model's folder has a copy that is not run."""
    from diffusers import DiTTransformer2DModel, UNet2DModel

    from mmd_ddm.pretrained.multi_head_unet import MultiHeadUNet2DModel
    from mmd_ddm.pretrained.respaced_dit import RespacedDiTTransformer2DModel

    known = (UNet2DModel, DiTTransformer2DModel, MultiHeadUNet2DModel, RespacedDiTTransformer2DModel, *_of_sigma())
    return {each.__name__: each for each in known}


def knows_sigma(network: nn.Module) -> bool:
    """Whether a network has a table of noise levels `sigmas` in place of time embeddings."""
    return isinstance(network, _of_sigma())


def _of_sigma() -> tuple[type[UNet2DModel], ...]:
    from mmd_ddm.pretrained.edm2_unet import EDM2UNet2DModel
    from mmd_ddm.pretrained.edm_unet import EDMUNet2DModel
    from mmd_ddm.pretrained.flow_unet import FlowUNet2DModel

    return EDMUNet2DModel, EDM2UNet2DModel, FlowUNet2DModel
