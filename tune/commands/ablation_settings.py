"""From the command line to a grid and the settings of its ablation; what is wrong is found before anything starts."""

from __future__ import annotations

import argparse
from typing import Any

from mmd_ddm.data.catalogue import OWN
from mmd_ddm.errors import UserError
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.presets import preset
from mmd_ddm.experiment.tracking.model_uri import resolve
from tune.ablation.grid import Grid, check_grid
from tune.ablation.make_grid import key_grid, table_grid
from tune.ablation.paper_tables import DATASETS, TABLES
from tune.options import machines
from tune.study.folder import ABLATION, FINAL_IMAGES, Settings

QUICK = "digits"  # the data set on which tables V to VIII end within ten minutes
SEEDS = {QUICK: 3}
PAPER_IMAGES = 50_000  # Section IV-A


def plan(options: argparse.Namespace) -> tuple[Settings, Grid]:
    """Return what a new grid asks for.

    Raises:
        UserError: A name or value is wrong; says which and what is allowed.
    """
    name = options.dataset or OWN
    which = options.preset or ("best" if name == QUICK else "paper")
    config = _config(options, which, name)
    images = options.images or (PAPER_IMAGES if name in DATASETS else FINAL_IMAGES)
    if images < 4:
        raise UserError(f"--images is {images}; KID and FID need at least 4")
    how: dict[str, Any] = {"seeds": options.seeds or SEEDS.get(name, 1), "images": images, "preset": which}
    if options.table is not None:
        table = TABLES[options.table]
        usual = table.quick if name == QUICK and table.quick else table.steps
        grid = table_grid(table, config, steps=options.steps or usual, **how)
    else:
        if options.steps and any(text.partition("=")[0].strip() == "steps" for text in options.grid):
            raise UserError("the budgets are named twice; leave out --steps, or steps= in --grid")
        grid = key_grid(options.grid, config, steps=options.steps or (config.sampler.steps,), **how)
    check_grid(grid)
    workers, gpus, cpus = machines(options)
    settings = Settings(
        config=grid.config,
        first=grid.config,
        space={},
        trials=sum(grid.rows[cell.row].finetuned for cell in grid.cells()),
        workers=workers,
        gpus=gpus,
        cpus=cpus,
        seed=0,
        final_images=images,
        kind=ABLATION,
    )
    return settings, grid


def _config(options: argparse.Namespace, which: str, name: str) -> Config:
    config = preset(which, name, options.data, options.resolution, options.evaluation_features)
    given = {"updates": options.updates, "base_model": options.base_model and resolve(options.base_model)}
    return config.replace(**{name: value for name, value in given.items() if value is not None})
