"""How a pipeline is sampled by default: as its `mmd_ddm.json` says, or with deterministic DDIM, the paper's sampler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmd_ddm.errors import UserError
from mmd_ddm.pretrained.export import RECORD

_READ = {"sampler": str, "steps": int, "eta": float, "variance": str}


def sampling_settings(folder: Path) -> dict[str, Any]:
    """Sampler, steps, eta and variance of a pipeline folder, for `make_chain` with the linear schedule.

    The exported process is either the original one, its timesteps evenly spread, or one that is respaced to just the
    timesteps of the budget: the linear schedule gives the finetuned timesteps of both.

    Args:
        folder: as `pretrained.load.locate` gives it.

    Returns:
        `sampler`, `eta`, `variance`, and `steps` where the model was finetuned for a budget.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / RECORD
    if path.exists():
        try:
            record = json.loads(path.read_text())
            return {key: read(record[key]) for key, read in _READ.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged: {error}") from None
    return {"sampler": "ddim", "eta": 0.0, "variance": "model"}
