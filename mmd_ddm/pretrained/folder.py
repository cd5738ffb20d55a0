"""A diffusers pipeline on disk, written whole or not at all."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmd_ddm.files import replacing, write_json
from mmd_ddm.pretrained.configs import OF_DIT

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DiffusionPipeline, SchedulerMixin, UNet2DModel, VQModel

INDEX = "model_index.json"  # what makes a folder a diffusers pipeline


def write_pipeline(pipeline: DiffusionPipeline, folder: Path, records: Mapping[str, Mapping[str, object]]) -> Path:
    """Write a pipeline so that diffusers alone can load it, and further JSON files by name beside it.

    The folder is replaced if it exists. If the network, the scheduler or the pipeline itself is a class of ours, its
    code goes along.
    """
    with replacing(folder) as half:
        pipeline.save_pretrained(half)
        index = json.loads((half / INDEX).read_text())
        parts = {
            name: getattr(pipeline, name) for name in ("unet", "transformer", "scheduler") if hasattr(pipeline, name)
        }
        for name, part in {**parts, "_class_name": pipeline}.items():
            kind = type(part)
            if kind.__module__.startswith(f"{__package__}."):
                source = Path(inspect.getfile(kind))
                shutil.copy(source, half if part is pipeline else half / name)
                index[name] = [source.stem, kind.__name__]
                (half / INDEX).write_text(json.dumps(index, indent=2))
        for name, record in records.items():
            write_json(half / name, record)
    return folder


def make_pipeline(
    unet: UNet2DModel,
    scheduler: SchedulerMixin,
    autoencoder: AutoencoderKL | VQModel | None = None,
    id2label: Mapping[str, str] | None = None,
) -> DiffusionPipeline:
    """Put a pipeline together: the one of diffusers that fits the parts, or ours where class labels are needed.

    A latent model's autoencoder goes along as it is, with its encoder, and a DiT's names of its classes by number.
    """
    from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DiTPipeline, LDMPipeline

    from mmd_ddm.pretrained.class_conditional_pipeline import ClassConditionalPipeline

    if autoencoder is not None and OF_DIT in unet.config:
        pipeline = DiTPipeline(unet, autoencoder, scheduler, id2label)
        if id2label is not None:
            pipeline.register_to_config(id2label=dict(id2label))  # or diffusers would not save what it reads there
        return pipeline
    if unet.config.get("num_class_embeds") is not None:
        return ClassConditionalPipeline(unet, scheduler, autoencoder)
    if autoencoder is not None:
        return LDMPipeline(autoencoder, unet, scheduler)
    return (DDIMPipeline if isinstance(scheduler, DDIMScheduler) else DDPMPipeline)(unet, scheduler)
