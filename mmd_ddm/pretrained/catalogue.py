"""What is known of published base models that their configs leave out.

diffusers added `prediction_type` to its schedulers after the models of `LEFT_OUT` were uploaded. Any other model that
leaves something out is refused by the name of what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Ho et al. 2020, Section 3.2 and Algorithm 1: the networks of that paper, which these are, predict epsilon
LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    f"google/ddpm-{name}": {"prediction_type": "epsilon"}
    for name in (
        "cifar10-32",
        *(f"{ema}{images}-256" for ema in ("", "ema-") for images in ("church", "bedroom", "cat", "celebahq")),
    )
} | {"CompVis/ldm-celebahq-256": {"prediction_type": "epsilon"}}  # Rombach et al. 2022, Equation 2
# of latent models' autoencoders, likewise: this one was trained on its latents as they are, and has no scaling factor
# because diffusers knew none then (diffusers issue 6725: LDMPipeline, which now takes 0.18215, makes no faces of it)
AUTOENCODERS: Mapping[str, Mapping[str, float]] = {"CompVis/ldm-celebahq-256": {"scaling_factor": 1.0}}


def hub_id(folder: Path) -> str | None:
    """The hub id of a folder models--OWNER--NAME/snapshots/REVISION of the hub's cache; none for other folders."""
    parts = folder.absolute().parts
    if len(parts) < 3 or parts[-2] != "snapshots" or not parts[-3].startswith("models--"):
        return None
    return "/".join(parts[-3].removeprefix("models--").split("--", 1))


def left_out(folder: Path) -> Mapping[str, str]:
    """Entries that are missing in the scheduler config of a model folder and are known all the same."""
    return LEFT_OUT.get(hub_id(folder) or "", {})
