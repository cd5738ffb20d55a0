"""MMD-DDM: make a pretrained diffusion model sample well with few network evaluations (arXiv 2301.07969).

The names below are what the commands call; they are imported when first used, and start neither Ray nor MLflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmd_ddm.errors import DivergenceError, UserError
    from mmd_ddm.evaluation.figures.sheets import save_sheet
    from mmd_ddm.experiment.build import Parts
    from mmd_ddm.experiment.config import Config
    from mmd_ddm.experiment.inference.sample import sample
    from mmd_ddm.experiment.presets import preset
    from mmd_ddm.experiment.run import finetune
    from mmd_ddm.experiment.scoring.evaluate import evaluate
    from mmd_ddm.experiment.scoring.table import table

__version__ = "0.1.0"
__all__ = [
    "Config",
    "DivergenceError",
    "Parts",
    "UserError",
    "evaluate",
    "finetune",
    "preset",
    "sample",
    "save_sheet",
    "table",
]
_HOMES = {
    "errors": ("DivergenceError", "UserError"),
    "evaluation.figures.sheets": ("save_sheet",),
    "experiment.build": ("Parts",),
    "experiment.config": ("Config",),
    "experiment.inference.sample": ("sample",),
    "experiment.presets": ("preset",),
    "experiment.run": ("finetune",),
    "experiment.scoring.evaluate": ("evaluate",),
    "experiment.scoring.table": ("table",),
}


def __getattr__(name: str) -> object:
    """Import a public name from its home."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"mmd_ddm.{home}"), name)
    raise AttributeError(f"module 'mmd_ddm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
