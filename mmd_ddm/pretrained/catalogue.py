"""What is known of published base models that their configs leave out, or before they are downloaded.

diffusers added `prediction_type` to its schedulers after the models of `LEFT_OUT` were uploaded. Any other model that
leaves something out is refused by the name of what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmd_ddm.pretrained.formats import ddim
from mmd_ddm.pretrained.formats.architecture import Architecture, Untold

# Ho et al. 2020, Section 3.2 and Algorithm 1: the networks of that paper, which these are, predict epsilon
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    f"google/ddpm-{name}": {"prediction_type": "epsilon"}
    for name in (
        "cifar10-32",
        *(f"{ema}{images}-256" for ema in ("", "ema-") for images in ("church", "bedroom", "cat", "celebahq")),
    )
}

# channels that are made of 3, widths over 128 and blocks of the levels, which of them have attention:
# Ho et al. 2020, Appendix B; Song et al. 2021, Appendix D; Nichol & Dhariwal 2021, Appendix A
_UNETS: Mapping[str, tuple[int, tuple[int, ...], int, tuple[bool, ...]]] = {
    "google/ddpm-cifar10-32": (3, (1, 2, 2, 2), 2, (False, True, False, False)),
    "google/ddpm-church-256": (3, (1, 1, 2, 2, 4, 4), 2, (False, False, False, False, True, False)),
    "celeba64-ddim": (3, (1, 2, 2, 2, 4), 2, (False, False, True, False, False)),
    "imagenet64-improved-diffusion": (6, (1, 2, 3, 4), 3, (False, False, True, True)),
}
_NICHOL = {"resnet_time_scale_shift": "scale_shift", "num_attention_heads": 4, "attn_norm_num_groups": 32}


def hub_id(folder: Path) -> str | None:
    """The hub id of a folder models--OWNER--NAME/snapshots/REVISION of the hub's cache; none for other folders."""
    parts = folder.absolute().parts
    if len(parts) < 3 or parts[-2] != "snapshots" or not parts[-3].startswith("models--"):
        return None
    return "/".join(parts[-3].removeprefix("models--").split("--", 1))


def left_out(folder: Path) -> Mapping[str, str]:
    """Entries that are missing in the scheduler config of a model folder and are known all the same."""
    return LEFT_OUT.get(hub_id(folder) or "", {})


def known_unet_config(name: str) -> dict[str, object] | None:
    """The config of the U-Net of a base model of the paper, by hub id or its name in the catalogue of data sets."""
    if name not in _UNETS:
        return None
    made, widths, blocks, attention = _UNETS[name]
    config = Architecture(3, made, tuple(128 * width for width in widths), blocks, attention).config(Untold())
    return {**config, **(_NICHOL if made == 6 else ddim.SETTINGS)}
