"""The paper's tables as data: which settings their rows have, and the numbers printed in them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """A row of one of the paper's tables that can be run.

    Args:
        label: What it is called; `{features}` becomes the feature space of its loss.
        settings: Where it differs from `COMMON`.
        space: Feature space of its loss, as a place among the data set's.
        paper: How the paper's table names it: columns of paper_tables.csv.
        finetuned: Whether it is finetuned, or the base model as it is.
    """

    label: str
    settings: Settings = field(default_factory=dict)
    space: int = SUPERVISED
    paper: Mapping[str, str] = field(default_factory=dict)
    finetuned: bool = True


@dataclass(frozen=True)
class Table:
    """One of the paper's tables.

    Args:
        name: Its number, I to IX.
        title: What it compares.
        dataset: The data set that it is on in the paper, the first if there are several.
        steps: Its budgets.
        rows: Those that can be run; the base model's are added where they are missing.
        quick: Budgets on digits, so that ten minutes suffice; empty: all.
        changes: Whether it also tells the change against the base model.
        measures: What is measured, of mmd_ddm.evaluation.metrics.
        note: What is to be known of it.
    """

    name: str
    title: str
    dataset: str
    steps: tuple[int, ...]
    rows: tuple[TableRow, ...]
    quick: tuple[int, ...] = ()
    changes: bool = False
    measures: tuple[str, ...] = ("kid", "fid")
    note: str = ""


_SPACE_ROWS = tuple(
    TableRow("finetuned in {features}", {}, place, {"method": f"DDIM + MMD-DDM ({SPACES[name]})"})
    for place, name in ((SUPERVISED, "inception"), (SELF_SUPERVISED, "clip"))
)
_BASE_DDPM = TableRow("base model (DDPM)", _DDPM, paper={"method": "DDPM"}, finetuned=False)


def _kernel(label: str, kernel: str, **settings: Scalar) -> TableRow:
    return TableRow(label, {"kernel": kernel, **settings}, paper={"method": "DDIM + MMD-DDM", "kernel": kernel})


def _schedule(name: str) -> TableRow:
    return TableRow(name, {"schedule": name}, paper={"method": "DDIM + MMD-DDM", "schedule": name})


def _main(name: str, dataset: str, steps: tuple[int, ...], *more: TableRow) -> Table:
    return Table(name, f"base and finetuned models on {DATASETS[dataset]}", dataset, steps, (*more, *_SPACE_ROWS))


TABLES = {
    table.name: table
    for table in (
        _main("I", "cifar10", (5, 10, 15, 20), _BASE_DDPM),
        _main("II", "celeba", (5, 10, 15, 20)),
        _main("III", "imagenet64", (5, 10, 20)),
        _main("IV", "lsun_church", (5, 10, 20)),
        Table(
            "V",
            "the trained feature space against the evaluated one",
            "cifar10",
            (5, 10),
            _SPACE_ROWS,
            quick=(5,),
            changes=True,
            note="The paper finetunes in Inception-V3 alone here; the other direction is added.",
        ),
        Table(
            "VI",
            "the kernel",
            "cifar10",
            (5, 10, 20),
            (
                _kernel("linear", "linear"),
                _kernel("Gaussian RBF, sigma^2 = d/2", "rbf", bandwidth="dim"),
                _kernel("cubic", "cubic"),
            ),
            quick=(5,),
            note="The paper does not state the bandwidth of its Gaussian kernel; sigma^2 = d/2 is its code's.",
        ),
        Table(
            "VII",
            "the timestep schedule",
            "cifar10",
            (5, 10, 20),
            (_schedule("linear"), _schedule("quadratic")),
            quick=(5,),
        ),
        Table(
            "VIII",
            "the sampler",
            "cifar10",
            (5, 10, 20),
            (
                _BASE_DDPM,
                TableRow("DDPM, finetuned", _DDPM, paper={"method": "DDPM + MMD-DDM"}),
                TableRow("DDIM, finetuned", {}, paper={"method": "DDIM + MMD-DDM"}),
            ),
            quick=(5,),
        ),
        Table(
            "IX",
            "other metrics",
            "cifar10",
            (5, 10, 15, 20),
            _SPACE_ROWS,
            measures=("kid", "fid", "precision_recall", "is", "sfid"),
            note="Inception Score and sFID belong to Inception-V3 and are measured where it is. Precision and recall "
            "depend on the numbers of generated and real images.",
        ),
    )
}


@dataclass(frozen=True)
class Number:
    """A number printed in the paper.

    Args:
        table: I to IX.
        dataset: As in the paper.
        method: As in the paper; so are kernel, schedule and sampler.
        steps: Budget.
        metric: For example FID_inception_50k.
        value: As printed.
    """

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
        return tuple(
            Number(steps=int(row.pop("steps")), **{name: text for name, text in row.items() if name in _WORDS})
            for row in rows
        )


_WORDS = ("table", "dataset", "method", "kernel", "schedule", "sampler", "metric", "value")


def numbers_of(table: str | None, dataset: str) -> tuple[Number, ...]:
    """Return the numbers that the paper prints in a table for a data set; none if it has none for it.

    Args:
        table: I to IX; None: no table.
        dataset: As in the catalogue.
    """
    name = DATASETS.get(dataset)
    return tuple(number for number in paper_numbers() if number.table == table and number.dataset == name)


def base_number(dataset: str, row: Mapping[str, str], steps: int, metric: str) -> str | None:
    """Return the base model's number from any table of the data set: the paper repeats some and leaves others out."""
    for number in paper_numbers():
        fits = number.dataset == DATASETS.get(dataset) and number.is_of(row)
        if fits and number.steps == steps and number.metric == metric:
            return number.value
    return None


def not_run(numbers: Sequence[Number], rows: Sequence[Mapping[str, str]], metrics: Sequence[str]) -> list[Number]:
    """Return the numbers of methods, and in metrics, that are not among what is run."""
    return [n for n in numbers if n.metric not in metrics or not any(n.is_of(row) for row in rows)]
