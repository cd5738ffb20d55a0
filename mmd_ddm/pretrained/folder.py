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

INDEX = "model_index.json"  # what makes a folder a diffusers pipeline


def write_pipeline(pipeline: DiffusionPipeline, folder: Path, records: Mapping[str, Mapping[str, object]]) -> Path:
    """Write a pipeline so that diffusers alone can load it, and further JSON files by name beside it.

    The folder is replaced if it exists. If the U-Net is a `MultiHeadUNet2DModel`, its code goes along.
    """
    from mmd_ddm.pretrained import multi_head_unet

    with replacing(folder) as half:
        pipeline.save_pretrained(half)
        if isinstance(pipeline.unet, multi_head_unet.MultiHeadUNet2DModel):
            source = Path(multi_head_unet.__file__)
            shutil.copy(source, half / "unet")
            index = json.loads((half / INDEX).read_text())
            index["unet"] = [source.stem, multi_head_unet.MultiHeadUNet2DModel.__name__]
            (half / INDEX).write_text(json.dumps(index, indent=2))
        for name, record in records.items():
            write_json(half / name, record)
    return folder
