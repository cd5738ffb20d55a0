"""The paper's tables as data: which settings their rows have, and the numbers printed in them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

from mmd_ddm.experiment.setting import Scalar

NUMBERS = Path(__file__).with_name("paper_tables.csv")
DATASETS = {"cifar10": "CIFAR-10", "celeba": "CelebA", "imagenet64": "ImageNet-64", "lsun_church": "LSUN-Church"}
SPACES = {"inception": "Inception-V3", "clip": "CLIP"}
SUPERVISED, SELF_SUPERVISED = 0, -1  # places among a data set's feature spaces

Settings = Mapping[str, Scalar]
_CUBIC: Settings = {"kernel": "cubic", "bandwidth": None}
_DDIM: Settings = {"sampler": "ddim", "eta": 0.0, "variance": "model"}
_DDPM: Settings = {"sampler": "ddpm", "eta": 0.0, "variance": "model"}
COMMON: Settings = {**_CUBIC, **_DDIM, "schedule": "linear"}  # of every table, unless a row says otherwise


@dataclass(frozen=True)
class TableRow:
    """A row of one of the paper's tables that can be run."""

    label: str  # `{features}` becomes the feature space of its loss
    settings: Settings = field(default_factory=dict)  # where it differs from `COMMON`
    space: int = SUPERVISED  # of its loss, as a place among the data set's
    paper: Mapping[str, str] = field(default_factory=dict)  # how the paper names it: columns of paper_tables.csv
    finetuned: bool = True  # otherwise it is the base model as it is


@dataclass(frozen=True)
class Table:
    """One of the paper's tables."""

    name: str  # I to IX
    title: str
    dataset: str  # that it is on in the paper, the first if there are several
    steps: tuple[int, ...]
    rows: tuple[TableRow, ...]  # the base model's are added where they are missing
    quick: tuple[int, ...] = ()  # budgets on digits, so that ten minutes suffice; empty: all
    changes: bool = False  # whether it also tells the change against the base model
    measures: tuple[str, ...] = ("kid", "fid")  # of mmd_ddm.evaluation.metrics
    note: str = ""


_FINETUNED = {"method": "DDIM + MMD-DDM"}
_SPACE_ROWS = tuple(
    TableRow("finetuned in {features}", {}, place, {"method": f"DDIM + MMD-DDM ({SPACES[name]})"})
    for place, name in ((SUPERVISED, "inception"), (SELF_SUPERVISED, "clip"))
)
_BASE_DDPM = TableRow("base model (DDPM)", _DDPM, paper={"method": "DDPM"}, finetuned=False)


def _kernel(label: str, kernel: str, **settings: Scalar) -> TableRow:
    return TableRow(label, {"kernel": kernel, **settings}, paper={**_FINETUNED, "kernel": kernel})


def _schedule(name: str) -> TableRow:
    return TableRow(name, {"schedule": name}, paper={**_FINETUNED, "schedule": name})


def _main(name: str, dataset: str, steps: tuple[int, ...], *more: TableRow) -> Table:
    return Table(name, f"base and finetuned models on {DATASETS[dataset]}", dataset, steps, (*more, *_SPACE_ROWS))


_TABLES = (
    _main("I", "cifar10", (5, 10, 15, 20), _BASE_DDPM),
    _main("II", "celeba", (5, 10, 15, 20)),
    _main("III", "imagenet64", (5, 10, 20)),
    _main("IV", "lsun_church", (5, 10, 20)),
    Table(
        "V", "the trained feature space against the evaluated one", "cifar10", (5, 10), _SPACE_ROWS,
        quick=(5,), changes=True, note="The paper finetunes in Inception-V3 alone here; the other direction is added.",
    ),
    Table(
        "VI", "the kernel", "cifar10", (5, 10, 20),
        (
            _kernel("linear", "linear"),
            _kernel("Gaussian RBF, sigma^2 = d/2", "rbf", bandwidth="dim"),
            _kernel("cubic", "cubic"),
        ),
        quick=(5,),
        note="The paper does not state the bandwidth of its Gaussian kernel; sigma^2 = d/2 is its code's.",
    ),
    Table(
        "VII", "the timestep schedule", "cifar10", (5, 10, 20),
        (_schedule("linear"), _schedule("quadratic")), quick=(5,),
    ),
    Table(
        "VIII", "the sampler", "cifar10", (5, 10, 20),
        (
            _BASE_DDPM,
            TableRow("DDPM, finetuned", _DDPM, paper={"method": "DDPM + MMD-DDM"}),
            TableRow("DDIM, finetuned", {}, paper=_FINETUNED),
        ),
        quick=(5,),
    ),
    Table(
        "IX", "other metrics", "cifar10", (5, 10, 15, 20), _SPACE_ROWS,
        measures=("kid", "fid", "precision_recall", "is", "sfid"),
        note="Inception Score and sFID belong to Inception-V3 and are measured where it is. Precision and recall "
        "depend on the numbers of generated and real images.",
    ),
)  # fmt: skip
TABLES = {table.name: table for table in _TABLES}


@dataclass(frozen=True)
class Number:
    """A number printed in the paper, and the row and column where it stands, all as the paper writes them."""

    table: str
    dataset: str
    method: str
    kernel: str
    schedule: str
    sampler: str
    steps: int
    metric: str
    value: str

    def is_of(self, row: Mapping[str, str]) -> bool:
        """Whether it stands in a row that is named by some columns."""
        return bool(row) and all(getattr(self, name) == value for name, value in row.items())


@cache
def paper_numbers() -> tuple[Number, ...]:
    """Return all numbers of the paper's tables."""
    with NUMBERS.open(newline="") as stream:
        rows = csv.DictReader(line for line in stream if not line.startswith("#"))
        words = [each.name for each in fields(Number) if each.name != "steps"]
        return tuple(Number(steps=int(row["steps"]), **{name: row[name] for name in words}) for row in rows)


def numbers_of(table: str | None, dataset: str) -> tuple[Number, ...]:
    """Return the numbers that the paper prints in a table for a data set of the catalogue; none if it has none."""
    name = DATASETS.get(dataset)
    return tuple(number for number in paper_numbers() if number.table == table and number.dataset == name)


def base_number(dataset: str, row: Mapping[str, str], steps: int, metric: str) -> str | None:
    """Return the base model's number from any table of the data set: the paper repeats some and leaves others out."""
    there = (each for each in paper_numbers() if each.dataset == DATASETS.get(dataset) and each.is_of(row))
    return next((each.value for each in there if each.steps == steps and each.metric == metric), None)


def not_run(numbers: Sequence[Number], rows: Sequence[Mapping[str, str]], metrics: Sequence[str]) -> list[Number]:
    """Return the numbers of methods, and in metrics, that are not among what is run."""
    return [n for n in numbers if n.metric not in metrics or not any(n.is_of(row) for row in rows)]
