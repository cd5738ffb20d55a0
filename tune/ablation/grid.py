"""A grid: rows of settings, columns of budgets, each cell run with every seed; of the paper's tables or one's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from mmd_ddm.evaluation.names import spaces_of
from mmd_ddm.experiment.config import Config
from mmd_ddm.experiment.config_groups import SamplerConfig, with_steps
from mmd_ddm.experiment.inputs import check, dataset_of
from mmd_ddm.experiment.setting import Scalar
from mmd_ddm.files import write_json
from mmd_ddm.records import Record, read_record
from tune.space.space import settle

GRIDS = "grids"


@dataclass(frozen=True)
class Row:
    """A row of a grid."""

    label: str
    settings: dict[str, Scalar]  # in which it differs from the grid's configuration
    finetuned: bool = True  # otherwise it is the base model as it is
    paper: dict[str, str] = field(default_factory=dict)  # how the paper names it (columns of paper_tables.csv)


@dataclass(frozen=True)
class Cell:
    """One run, or one score of the base model: a row at a budget with a seed."""

    row: int
    steps: int
    seed: int
    config: Config


@dataclass(frozen=True)
class Grid:
    """What an ablation was asked to compare."""

    name: str  # of its files
    title: str
    config: Config  # what all rows share, unless a row says otherwise
    rows: tuple[Row, ...]  # the base model's first
    steps: tuple[int, ...]  # budgets, the columns
    seeds: tuple[int, ...]
    images: int  # generated for each final score
    table: str | None = None  # the paper's, I to IX
    notes: tuple[str, ...] = ()  # sentences of the caption
    changes: bool = False  # whether changes against the base model are told
    measures: tuple[str, ...] = ("kid", "fid")  # of mmd_ddm.evaluation.metrics

    def cells(self) -> Iterator[Cell]:
        """Go through all cells, row by row."""
        for (number, row), steps, seed in itertools.product(enumerate(self.rows), self.steps, self.seeds):
            yield Cell(number, steps, seed, settle(self.config, row.settings).replace(steps=steps, seed=seed))

    def trained(self, row: Row) -> tuple[str, ...]:
        """Return the feature spaces of a row's loss; none of the base model's."""
        return tuple(settle(self.config, row.settings).objective.spaces) if row.finetuned else ()

    @cached_property
    def spaces(self) -> tuple[str, ...]:
        """Feature spaces in which all rows are scored: the data set's own, and those of any row's loss."""
        trained = (name for row in self.rows for name in self.trained(row))
        return tuple(dict.fromkeys((*own_spaces(self.config), *trained)))

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
    return with_steps(settle(config, row.settings).sampler, config.sampler.steps)


def check_grid(grid: Grid) -> None:
    """Find what is wrong with a grid beyond its values, before anything heavy is loaded.

    Raises:
        UserError: A feature space doesn't fit the data set, there is no base model, or a budget exceeds its steps.
    """
    for cell in grid.cells():
        if cell.seed == grid.seeds[0]:
            check(cell.config)


def save_grid(folder: Path, grid: Grid) -> Grid:
    """Write a grid down among those of an ablation; return it under its name, with a number if another has that."""
    there = {each.name: each for each in read_grids(folder)}
    names = itertools.chain([grid.name], (f"{grid.name}-{number}" for number in itertools.count(2)))
    kept = next(each for each in (replace(grid, name=name) for name in names) if there.get(each.name, each) == each)
    (folder / GRIDS).mkdir(exist_ok=True)
    write_json(folder / GRIDS / f"{kept.name}.json", {**asdict(kept), "config": kept.config.flat()})
    return kept


def read_grids(folder: Path) -> list[Grid]:
    """Return the grids of an ablation; UserError if one of their files is damaged."""
    return [_read_grid(file) for file in sorted((folder / GRIDS).glob("*.json"))]


def _read_grid(file: Path) -> Grid:
    record = read_record(file, "delete it, and ask for its grid again with --output")
    with record.reading():
        config = Config.from_flat(record.mapping("config"))
    return Grid(
        record.text("name"),
        record.text("title"),
        config,
        tuple(_read_row(row) for row in record.records("rows")),
        tuple(record.wholes("steps")),
        tuple(record.wholes("seeds")),
        record.whole("images", 2),
        record.text("table") if "table" in record else None,
        tuple(record.texts("notes")),
        record.flag("changes"),
        tuple(record.texts("measures")),
    )


def _read_row(row: Record) -> Row:
    paper = row.record("paper")
    texts = {name: paper.text(name) for name in paper}
    return Row(row.text("label"), row.scalars("settings"), row.flag("finetuned"), texts)
