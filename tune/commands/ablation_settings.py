"""From the command line to a grid and the settings of its ablation; what is wrong is found before anything starts."""

from __future__ import annotations

import argparse

from mmd_ddm.data.names import OWN
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.tracking.model_uri import resolve
from tune.ablation.grid import Grid, check_grid
from tune.ablation.make_grid import key_grid, table_grid
from tune.ablation.paper_tables import DATASETS, TABLES
from tune.options import machines
from tune.study.settings import FINAL_IMAGES, AblationSettings

QUICK = "digits"  # the data set on which tables V to VIII end within ten minutes
SEEDS = {QUICK: 3}
PAPER_IMAGES = 50_000  # Section IV-A


def plan(options: argparse.Namespace) -> tuple[AblationSettings, Grid]:
    """Return what a new grid asks for.

    Raises:
        UserError: A name or value is wrong; says which and what is allowed.
    """
    name = options.dataset or OWN
    which = options.preset or ("best" if name == QUICK else "paper")
    config = _config(options, which, name)
    images = options.final_images or (PAPER_IMAGES if name in DATASETS else FINAL_IMAGES)
    if images < 4:
        raise UserError(f"--final-images is {images}; KID and FID need at least 4")
    seeds = options.seeds or SEEDS.get(name, 1)
    if options.table is not None:
        table = TABLES[options.table]
        steps = options.steps or (name == QUICK and table.quick) or table.steps
        grid = table_grid(table, config, steps=steps, seeds=seeds, images=images, preset=which)
    else:
        if options.steps and any(text.partition("=")[0].strip() == "steps" for text in options.grid):
            raise UserError("the budgets are named twice; leave out --steps, or steps= in --grid")
        steps = options.steps or (config.sampler.steps,)
        grid = key_grid(options.grid, config, steps=steps, seeds=seeds, images=images, preset=which)
    check_grid(grid)
    return AblationSettings(grid.config, machines(options), options.concurrent), grid


def _config(options: argparse.Namespace, which: str, name: str) -> Config:
    config = preset(which, name, options.data, options.resolution, options.score_features)
    given = {
        "name": options.name,
        "updates": options.updates,
        "base_model": options.base_model and resolve(options.base_model),
    }
    return config.replace(**{name: value for name, value in given.items() if value is not None})
