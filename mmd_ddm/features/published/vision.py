"""Networks of timm: pooled features of images; DINOv2 (Oquab et al. 2023) is one of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmd_ddm.features.published.listing import timm_config

if TYPE_CHECKING:
    from timm.models import VisionTransformer

DINOV2 = "vit_base_patch14_dinov2.lvd142m"
_DINOV2_SIZE = 224
_OFFSET = 0.1  # added to the number of patches by DINOv2's authors before they scale the positions


def pooled_network(model: str, file: Path) -> nn.Module:
    """Build a timm model without its classifier, from a file of its weights: safetensors or pickled tensors.

    Its outputs are N x D pooled features; it knows its evaluation transform (`transforms.of_timm`).
    """
    import timm

    if file.suffix != ".safetensors":  # older versions of timm run what a pickle says; this reading refuses to
        torch.load(file, map_location="meta", weights_only=True)
    known = timm_config(model)
    named = model if known else model.partition(".")[0]  # a tag of one's own is that of the file alone
    published = known is not None and "." in model
    classes = None if published else _classes(named, file, own_tag=known is None)
    own = {} if classes is None else {"num_classes": classes}
    # with its classifier at first: without, timm would accept a file in which other weights are missing, too
    overlay = {"file": str(file), "custom_load": False, **own}
    whole = timm.create_model(named, pretrained=True, pretrained_cfg_overlay=overlay, **own)
    whole.reset_classifier(0)
    network: nn.Module = whole
    return network


def _classes(model: str, file: Path, *, own_tag: bool) -> int | None:
    """Count the classes that a network of one's own tells apart, 0 if it has no classifier; None: as published.

    Without a tag of its own a file may be a publisher's, who may name the classifier otherwise than timm does.
    """
    import timm

    known = timm_config(model)
    if known is None:
        return None
    last = known.classifier if isinstance(known.classifier, str) else (known.classifier or ("",))[0]
    weight = timm.models.load_state_dict(str(file), weights_only=True).get(f"{last}.weight")
    if weight is None:
        return 0 if own_tag else None
    return None if len(weight) == known.num_classes else len(weight)


def dinov2_network(file: Path) -> nn.Module:
    """Build DINOv2 ViT-B/14 for images of 224 x 224; its output is the normalised class token, 768 numbers.

    That is what the authors' model returns. The positions were learned for 37 x 37 patches; they are scaled to
    16 x 16 as the authors' code does it (bicubic, not antialiased, by (16 + 0.1) / 37), and not as timm does. The file
    is the authors' dinov2_vitb14_pretrain.pth or timm's safetensors.
    """
    network = pooled_network(DINOV2, file)
    learned = network.get_parameter("pos_embed").detach().clone()
    transformer: VisionTransformer = network
    transformer.set_input_size(img_size=_DINOV2_SIZE)
    with torch.no_grad():
        network.get_parameter("pos_embed").copy_(scaled_positions(learned, _DINOV2_SIZE // 14))
    return network


def scaled_positions(learned: Tensor, patches: int) -> Tensor:
    """Scale position embeddings of a square grid as DINOv2's authors do.

    Args:
        learned: 1 x (1 + G^2) x D: the class token's, then those of G x G patches.
        patches: Patches along each axis that are wanted.

    Returns:
        1 x (1 + patches^2) x D; the class token's is unchanged.
    """
    of_class, of_patches = learned[:, :1], learned[:, 1:]
    before, dim = math.isqrt(of_patches.shape[1]), learned.shape[2]
    grid = of_patches.reshape(1, before, before, dim).permute(0, 3, 1, 2)
    factor = (patches + _OFFSET) / before
    scaled = nn.functional.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([of_class, scaled.permute(0, 2, 3, 1).reshape(1, patches**2, dim)], dim=1)
