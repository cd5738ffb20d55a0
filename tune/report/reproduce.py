"""How the best trial is repeated without a search, and how its model is used."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.presets import DEPENDS, PRESETS, preset

RECORD = "mmd_ddm.json"
FOLDED = " \\\n    "


def command_line(config: Mapping[str, Any], output: str, between: str = " ") -> str:
    """Return the line that runs a configuration: the preset that needs the fewest changes, and those.

    Args:
        config: All leaves.
        output: Folder of the new run.
        between: What stands before each option; `FOLDED` for one a line.
    """
    given = {key: config[key] for key in DEPENDS}
    name, changed = min(
        ((name, _changes(config, preset(name, config["dataset"], **given))) for name in PRESETS),
        key=lambda pair: len(pair[1]),
    )
    changed = {**{key: value for key, value in given.items() if value is not None}, **changed}
    flags = [f"--{key.replace('_', '-')} {shlex.quote(_text(value))}" for key, value in changed.items()]
    start = f"mmd-ddm finetune --preset {name} --dataset {config['dataset']} --output {shlex.quote(output)}"
    return between.join([start, *flags])


def _changes(config: Mapping[str, Any], start: Config) -> dict[str, Any]:
    return {key: config[key] for key, value in start.flat().items() if config[key] != value}


def _text(value: Any) -> str:
    return "none" if value is None else str(value)  # str of a float reads back as the same float


def loading_code(folder: Path) -> str:
    """Return the Python lines that sample from an exported model with diffusers alone."""
    record = json.loads((folder / RECORD).read_text())
    pipeline = "DDIMPipeline" if record["sampler"] == "ddim" else "DDPMPipeline"
    eta = f", eta={record['eta']:g}" if record["sampler"] == "ddim" else ""
    return "\n".join(
        [
            f"from diffusers import {pipeline}",
            "",
            f"pipeline = {pipeline}.from_pretrained({str(folder)!r})",
            f"images = pipeline(batch_size=16, num_inference_steps={record['steps']}{eta}).images",
        ]
    )
