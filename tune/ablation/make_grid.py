"""Grids as users ask for them: of the paper's tables, or all combinations of some settings' values."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.names import OWN_SPACE
from mmd_ddm.experiment.config import Config, settings
from mmd_ddm.experiment.config_groups import SamplerConfig
from mmd_ddm.experiment.run_folder import LAST
from mmd_ddm.experiment.setting import Scalar
from tune.ablation.grid import Grid, Row, own_spaces, sampler_of
from tune.ablation.paper_tables import COMMON, Table
from tune.space.space import settle, takes_bandwidth
from tune.study.format import short

CHOOSING_IMAGES = 1000  # of a run's own scoring, which only says whether raw or averaged weights are exported
CHECKPOINT_EVERY = 60  # updates; a run keeps a checkpoint each time it is scored

_NO_KEYS = ("dataset", "data", "resolution", "base_model", "seed", "score_features", "score_images",
            "scorings", "keep", "other_steps")  # fmt: skip


def table_grid(table: Table, config: Config, *, steps: Sequence[int], seeds: int, images: int, preset: str) -> Grid:
    """Return the grid of one of the paper's tables, for so many seeds and generated images of each final score.

    The table's own settings are put into `config`, which is of the preset of that name.
    """
    own = own_spaces(config)
    measures = tuple(each for each in table.measures if "inception" in own or each not in OWN_SPACE)
    base = settle(config, {**COMMON, "features": own[0]})
    rows = [
        Row(
            row.label.format(features=own[row.space]),
            {**row.settings, "features": own[row.space]} if row.space else dict(row.settings),
            row.finetuned, dict(row.paper),
        )
        for row in table.rows
    ]  # fmt: skip
    shared = "Kernel, feature space, timesteps and sampler are the paper's unless a row says otherwise"
    notes = [f"{shared}; the rest is as in the preset {preset}.", *([table.note] if table.note else [])]
    if own != ("inception", "clip"):
        notes.append(f"The feature space {own[0]} stands in for the paper's Inception-V3, and {own[-1]} for its CLIP.")
    return _grid(f"table-{table.name}", f"Table {table.name}: {table.title}", base, rows, steps, seeds, images,
                 table=table.name, notes=tuple(notes), changes=table.changes, measures=measures)  # fmt: skip


def key_grid(
    texts: Sequence[str], config: Config, *, steps: Sequence[int], seeds: int, images: int, preset: str
) -> Grid:
    """Return a grid of one's own: all combinations of some settings' values, each text `key=a,b,c`.

    The budgets, its columns, are `steps` unless that is one of the keys; `config` has the rest of the settings.

    Raises:
        UserError: An unknown setting, or a value that is not allowed.
    """
    keys = dict(_read_key(text) for text in texts)
    if len(keys) < len(texts):
        raise UserError("--grid names a setting twice; write all of its values after one key=")
    budgets = tuple(config.replace(steps=value).sampler.steps for value in keys.pop("steps", ())) or tuple(steps)
    points = [_point(dict(zip(keys, values, strict=True)), config) for values in itertools.product(*keys.values())]
    unique = {json.dumps(point): point for point in points}.values()
    rows = [Row(", ".join(f"{name}={short(value)}" for name, value in p.items()) or "finetuned", p) for p in unique]
    notes = (f"What rows and columns do not name is as in the preset {preset}.",)
    names = list(keys) or ["steps"]
    return _grid(f"grid-{'-'.join(names)}", " x ".join(names), config, rows, budgets, seeds, images, notes=notes)


def _read_key(text: str) -> tuple[str, list[str]]:
    name, equals, written = text.partition("=")
    name, values = name.strip().replace("-", "_"), [value.strip() for value in written.split(",")]
    known = [item.name for item in settings() if item.name not in _NO_KEYS]
    if not equals or "" in values:
        raise UserError(f"--grid {text!r} is not key=values; write for example kernel=cubic,rbf")
    if name not in known:
        hint = "; for seeds there is --seeds" if name in ("seed", "seeds") else ""
        raise UserError(f"--grid: {name!r} can't be compared{hint}; choose from {', '.join(known)}")
    return name, values


def _point(values: dict[str, str], config: Config) -> dict[str, Scalar]:
    """Drop what the other values make meaningless, and read the rest."""
    if "kernel" in values and not takes_bandwidth(values["kernel"]):
        values.pop("bandwidth", None)
    for name, owner in (("eta", "ddim"), ("variance", "ddpm")):
        if values.get("sampler", owner) != owner:
            values.pop(name, None)
    settled = settle(config, values).flat()
    return {name: settled[name] for name in values}


def _grid(
    name: str, title: str, config: Config, rows: Sequence[Row], steps: Sequence[int], seeds: int, images: int, *,
    table: str | None = None, notes: tuple[str, ...] = (), changes: bool = False,
    measures: tuple[str, ...] = ("kid", "fid"),
) -> Grid:  # fmt: skip
    updates = config.optimization.updates
    # cells are compared after equally many updates
    shared = config.replace(
        scorings=-(-updates // CHECKPOINT_EVERY), score_images=min(CHOOSING_IMAGES, images), keep=LAST
    )
    base = [*(row for row in rows if not row.finetuned), *_base_rows(rows, config)]
    rows, runs = (*base, *(row for row in rows if row.finetuned)), tuple(range(seeds))
    grid = Grid(name, title, shared, rows, tuple(steps), runs, images, table, notes, changes, measures)
    for _ in grid.cells():
        pass  # a value that a setting does not allow is said here
    return grid


def _base_rows(rows: Sequence[Row], config: Config) -> list[Row]:
    """The base model on each row's timesteps and with its sampler, where it is not among the rows already."""
    there = [sampler_of(row, config) for row in rows if not row.finetuned]
    found = []
    for row in rows:
        how = sampler_of(row, config)
        if how not in there:
            there.append(how)
            paper = {"method": how.sampler.upper()} if how.schedule == "linear" and not how.eta else {}
            values = {name: value for name, value in vars(how).items() if name != "steps"}
            found.append(Row(f"base model ({_how_text(how)})", values, False, paper))
    return found


def _how_text(how: SamplerConfig) -> str:
    schedule = how.schedule if how.schedule != "linear" else ""
    variance = f"variance {how.variance}" if how.variance != "model" else ""
    return ", ".join(filter(None, (how.sampler.upper(), schedule, f"eta {how.eta:g}" if how.eta else "", variance)))
