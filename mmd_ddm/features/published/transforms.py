"""The evaluation transforms that models of open_clip and timm bring, as preprocessing of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from mmd_ddm.errors import UserError
from mmd_ddm.features.published.preprocessing import Preprocessing


def of_open_clip(model: nn.Module, name: str) -> Preprocessing:
    """Return the evaluation transform of an open_clip model or its image tower, called `name` in errors.

    Raises:
        UserError: If it pads images or takes none that are square.
    """
    from open_clip.model import get_model_preprocess_cfg

    said = get_model_preprocess_cfg(model)
    size, mode = _side(said["size"], name), said.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise UserError(f"{name!r} resizes images by {mode!r}, which is not supported; choose another model.")
    crop = size if mode == "shortest" else None
    return _own(said.get("interpolation", "bicubic"), size, crop, (said["mean"], said["std"]), name)


def of_timm(model: nn.Module, name: str) -> Preprocessing:
    """Return the evaluation transform of a timm model, called `name` in errors.

    Raises:
        UserError: If it pads images or takes none that are square.
    """
    from timm.data import resolve_model_data_config

    said = resolve_model_data_config(model)
    crop = _side(said["input_size"][1:], name)
    size, mode = int(crop / said["crop_pct"]), said["crop_mode"]
    if mode != "center" and (mode, size) != ("squash", crop):
        raise UserError(f"{name!r} crops images by {mode!r}, which is not supported; choose another model.")
    return _own(said["interpolation"], size, crop if mode == "center" else None, (said["mean"], said["std"]), name)


def _own(resize: str, size: int, crop: int | None, moments: Sequence[Sequence[float]], name: str) -> Preprocessing:
    filters: dict[str, Literal["bilinear", "bicubic"]] = {"bilinear": "bilinear", "bicubic": "bicubic"}
    if resize not in filters:
        raise UserError(f"{name!r} resizes images by {resize!r}, which is not supported; choose another model.")
    mean, std = (tuple(each) for each in moments)
    return Preprocessing(filters[resize], size, crop, True, True, mean, std)


def _side(size: int | tuple[int, ...] | list[int], name: str) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise UserError(f"{name!r} takes images of {size}, not square ones; choose another model.")
    return sides.pop()
