"""A grid: rows of settings, columns of budgets, each cell run with every seed; of the paper's tables or one's own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from mmd_ddm.errors import UserError
from mmd_ddm.evaluation.measure import spaces_of
from mmd_ddm.experiment.build import check, dataset_of
from mmd_ddm.experiment.config import Config, SamplerConfig
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.files import write_json
from tune.space.space import settle

GRIDS = "grids"


@dataclass(frozen=True)
class Row:
    """A row of a grid.

    Args:
        label: What it is called.
        settings: Settings in which it differs from the grid's configuration.
        finetuned: Whether it is finetuned; otherwise it is the base model as it is.
        paper: How the paper's table names it (columns of paper_tables.csv); empty: not at all.
    """

    label: str
    settings: dict[str, Scalar]
    finetuned: bool = True
    paper: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run, or one score of the base model: a row at a budget with a seed."""

    row: int
    steps: int
    seed: int
    config: Config


@dataclass(frozen=True)
class Grid:
    """What an ablation was asked to compare.

    Args:
        name: Of its files.
        title: What it compares.
        config: What all rows share, unless a row says otherwise.
        rows: The base model's first.
        steps: Budgets, the columns.
        seeds: Of the runs.
        images: Generated images of each final score.
        table: The paper's table, I to IX; None: none.
        notes: Sentences of the caption.
        changes: Whether changes against the base model are told.
        measures: What is measured, of mmd_ddm.evaluation.metrics.
    """

    name: str
    title: str
    config: Config
    rows: tuple[Row, ...]
    steps: tuple[int, ...]
    seeds: tuple[int, ...]
    images: int
    table: str | None = None
    notes: tuple[str, ...] = ()
    changes: bool = False
    measures: tuple[str, ...] = ("kid", "fid")

    def cells(self) -> Iterator[Cell]:
        """Go through all cells, row by row."""
        for (number, row), steps, seed in itertools.product(enumerate(self.rows), self.steps, self.seeds):
            yield Cell(number, steps, seed, settle(self.config, row.settings).replace(steps=steps, seed=seed))

    def trained(self, row: Row) -> tuple[str, ...]:
        """Return the feature spaces of a row's loss; none of the base model's."""
        if not row.finetuned:
            return ()
        return tuple(settle(self.config, row.settings).objective.spaces)

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """Feature spaces in which all rows are scored: the data set's own, and those of any row's loss."""
        own = own_spaces(self.config)
        return tuple(dict.fromkeys((*own, *(name for row in self.rows for name in self.trained(row)))))

    @property
    def networks(self) -> str:
        """All feature spaces that scoring needs, those of single measures too, as a configuration has them."""
        return "+".join(dict.fromkeys((*self.spaces, *spaces_of(self.measures))))

    def point(self, cell: Cell) -> dict[str, Scalar]:
        """Return what tells a cell from the others of the grid."""
        return {**self.rows[cell.row].settings, "steps": cell.steps, "seed": cell.seed}


def own_spaces(config: Config) -> tuple[str, ...]:
    """Return the feature spaces that stand for the paper's: those asked for, or else the data set's own."""
    return config.scoring.spaces or dataset_of(config).feature_spaces


def sampler_of(row: Row, config: Config) -> SamplerConfig:
    """Return how a row samples, but for its budget."""
    return replace(settle(config, row.settings).sampler, steps=config.sampler.steps)


def check_grid(grid: Grid) -> None:
    """Find what is wrong with a grid beyond its values, before anything heavy is loaded.

    Raises:
        UserError: A feature space that doesn't fit the data set, no base model, or a budget beyond its steps.
    """
    for cell in grid.cells():
        if cell.seed == grid.seeds[0]:
            check(cell.config)


def save_grid(folder: Path, grid: Grid) -> Grid:
    """Write a grid down among those of an ablation; if another has its name, it gets a number.

    Args:
        folder: The ablation's.
        grid: New, or one that is there already.

    Returns:
        The grid under the name that it is kept under.
    """
    there = {each.name: each for each in read_grids(folder)}
    names = itertools.chain([grid.name], (f"{grid.name}-{number}" for number in itertools.count(2)))
    kept = next(
        named for named in (replace(grid, name=name) for name in names) if there.get(named.name, named) == named
    )
    (folder / GRIDS).mkdir(exist_ok=True)
    write_json(folder / GRIDS / f"{kept.name}.json", {**asdict(kept), "config": kept.config.flat()})
    return kept


def read_grids(folder: Path) -> list[Grid]:
    """Return the grids of an ablation.

    Raises:
        UserError: One of their files is damaged.
    """
    return [_read_grid(file) for file in sorted((folder / GRIDS).glob("*.json"))]


def _read_grid(file: Path) -> Grid:
    try:
        content = json.loads(file.read_text())
        content["rows"] = tuple(Row(**row) for row in content["rows"])
        content["config"] = Config.from_flat(content["config"])
        lists = {name: tuple(content[name]) for name in ("steps", "seeds", "notes", "measures") if name in content}
        return Grid(**{**content, **lists})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} is damaged ({error}); delete it, and ask for its grid again with --output") from None
