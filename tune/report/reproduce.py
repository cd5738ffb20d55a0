"""How the best trial is repeated without a search, and how its model is used."""

from __future__ import annotations

import shlex
from pathlib import Path

from mmd_ddm import records
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.presets import PRESETS, preset
from mmd_ddm.experiment.scoring.model_record import read_record
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.pretrained.autoencoder_config import find_autoencoder
from mmd_ddm.pretrained.configs import network_part
from mmd_ddm.pretrained.record import RECORD, loading_lines

FOLDED = " \\\n    "


def command_line(config: Config, output: str, between: str = " ", weights: str | None = None) -> str:
    """Return the line that runs a configuration: the preset that needs the fewest changes, and those.

    Args:
        config: Of the run.
        output: Folder of the new run.
        between: What stands before each option; `FOLDED` for one a line.
        weights: The folder of weights of feature spaces, if there is one.
    """
    given = {"data": config.data, "resolution": config.resolution, "score_features": config.scoring.score_features}
    like = (config.dataset, config.data, config.resolution, config.scoring.score_features)
    name, changed = min(
        ((name, _changes(config, preset(name, *like))) for name in PRESETS), key=lambda pair: len(pair[1])
    )
    changed = {**{key: value for key, value in given.items() if value is not None}, **changed}
    changed |= {} if weights is None else {"weights": weights}
    flags = [f"--{key.replace('_', '-')} {shlex.quote(_text(value))}" for key, value in changed.items()]
    start = f"mmd-ddm finetune --preset {name} --dataset {config.dataset} --output {shlex.quote(output)}"
    return between.join([start, *flags])


def _changes(config: Config, start: Config) -> dict[str, Scalar]:
    former = start.flat()
    return {key: value for key, value in config.flat().items() if value != former[key]}


def _text(value: Scalar) -> str:
    return "none" if value is None else str(value)  # str of a float reads back as the same float


def read_weights(folder: Path) -> str:
    """Return which of a run's weights an exported model has, in words; nothing where its record doesn't say."""
    weights = records.read_record(folder / RECORD, "export the model again").entries.get("weights")
    return {"raw": "the raw weights", "ema": "the averaged weights (EMA)"}.get(str(weights), "")


def loading_code(folder: Path) -> str:
    """Return the Python lines that sample from an exported model with diffusers alone."""
    s, network, latent = read_record(folder).sampler, network_part(folder), find_autoencoder(folder) is not None
    transformer = network.name == "transformer"
    conditional = transformer or any(folder.glob("*.py"))  # the pipeline that takes labels
    pipeline = "DiTPipeline" if transformer else "LDMPipeline" if latent and not conditional else None
    how = s.sampler, s.steps, s.eta, any(network.glob("*.py")), conditional, pipeline, s.guidance_scale
    return "\n".join(loading_lines(str(folder), *how))
