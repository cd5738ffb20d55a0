"""A diffusers pipeline on disk, written whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.files import replacing, write_json

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

_INDEX = "model_index.json"


def write_pipeline(pipeline: DiffusionPipeline, folder: Path, records: Mapping[str, Mapping[str, object]]) -> Path:
    """Write a pipeline of a U-Net and a scheduler so that diffusers alone can load it.

    Args:
        pipeline: its U-Net is a `UNet2DModel` or a `MultiHeadUNet2DModel`; the code of the latter goes along.
        folder: its final name; replaced if it exists.
        records: further JSON files by name.
    """
    from mmd_ddm.pretrained import multi_head_unet

    with replacing(folder) as half:
        pipeline.save_pretrained(half)
        if isinstance(pipeline.unet, multi_head_unet.MultiHeadUNet2DModel):
            source = Path(multi_head_unet.__file__)
            shutil.copy(source, half / "unet")
            index = json.loads((half / _INDEX).read_text())
            index["unet"] = [source.stem, multi_head_unet.MultiHeadUNet2DModel.__name__]
            (half / _INDEX).write_text(json.dumps(index, indent=2))
        for name, record in records.items():
            write_json(half / name, record)
    return folder
