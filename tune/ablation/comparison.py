"""A grid's scores, read from its ablation's folder: each setting's over seeds, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmd_ddm.evaluation.metrics import MORE_IS_BETTER, WORDS, Metrics, find
from mmd_ddm.evaluation.names import KINDS, OWN_SPACE
from mmd_ddm.experiment.config import Config
from tune.ablation.cell_scores import read_cell_scores, scores_file, trial_numbers
from tune.ablation.grid import Cell, Grid, sampler_of
from tune.ablation.paper_tables import base_number, numbers_of
from tune.scoring.estimate import Estimate, verdicts
from tune.study.folder import Outcome, Study
from tune.study.settings import AblationSettings

Place = tuple[int, int]  # row, budget


class Column(NamedTuple):
    """What is compared: a kind of metric in a feature space, or (None) in its own layer of Inception."""

    kind: str
    space: str | None = None

    @property
    def name(self) -> str:
        """As in files."""
        return self.kind if self.space is None else f"{self.kind}_{self.space}"

    @property
    def title(self) -> str:
        """For people."""
        return WORDS[self.kind] + (f" in {self.space} features" if self.space else "")

    @property
    def network(self) -> str:
        """The feature space that it says something of."""
        return self.space or "inception"


PAPER_METRICS = {
    Column("fid", "inception"): "FID_inception_50k",
    Column("fid", "clip"): "FID_CLIP",
    Column("is"): "inception_score",
    Column("sfid"): "sFID",
    Column("precision", "inception"): "precision",
    Column("recall", "inception"): "recall",
}


@dataclass(frozen=True)
class Comparison:
    """What is known of a grid: for each row and budget the scores of its seeds, and why some have none."""

    grid: Grid
    scores: Mapping[Place, Sequence[Metrics]]
    gaps: Mapping[Place, Sequence[str]]

    @property
    def columns(self) -> list[Column]:
        """What is compared: in each feature space, then what belongs to a layer of Inception."""
        alone = [measure for measure in self.grid.measures if measure in OWN_SPACE]
        kinds = [kind for name in self.grid.measures if name not in alone for kind in KINDS.get(name, (name,))]
        inside = [Column(kind, space) for space in self.grid.spaces for kind in kinds]
        return [*inside, *(Column(kind) for kind in alone)]

    def estimate(self, column: Column, row: int, steps: int) -> Estimate | None:
        """Return a score over its seeds; None where no seed has one."""
        found = [find(metrics, *column) for metrics in self.scores.get((row, steps), ())]
        known = [metric for metric in found if metric is not None]
        if not known:
            return None
        errors = tuple(metric.stderr for metric in known if metric.stderr is not None)
        return Estimate(tuple(metric.value for metric in known), errors)

    def verdicts(self, column: Column, steps: int) -> list[str]:
        """Say of each row at a budget whether it is the best, tied with it or behind."""
        scores = [self.estimate(column, row, steps) for row in range(len(self.grid.rows))]
        return verdicts(scores, largest=column.kind in MORE_IS_BETTER)

    def role(self, column: Column) -> str:
        """Say whether the finetuned rows were trained on a column's feature space: all, none, or (empty) some."""
        trained = [column.network in self.grid.trained(row) for row in self.grid.rows if row.finetuned]
        return "trained on" if all(trained) else "" if any(trained) else "held out"

    def base_row(self, row: int) -> int | None:
        """Return the base model's row with the same sampler and timesteps."""
        config = self.grid.config
        how = sampler_of(self.grid.rows[row], config)
        places = (i for i, each in enumerate(self.grid.rows) if not each.finetuned and sampler_of(each, config) == how)
        return next(places, None)

    def paper(self, column: Column, row: int, steps: int) -> str | None:
        """Return the paper's number, where it has one for this data set."""
        name, named = PAPER_METRICS.get(column), self.grid.rows[row].paper
        if name is None or self.grid.table is None or not named:
            return None
        dataset = self.grid.config.dataset
        for number in numbers_of(self.grid.table, dataset):
            if number.metric == name and number.steps == steps and number.is_of(named):
                return number.value
        return None if self.grid.rows[row].finetuned else base_number(dataset, named, steps, name)


def compare(study: Study[AblationSettings], grid: Grid) -> Comparison:
    """Read what a folder holds of a grid."""
    numbers = trial_numbers(study)
    scores: dict[Place, list[Metrics]] = {}
    gaps: dict[Place, list[str]] = {}
    for cell in grid.cells():
        found = read_cell_scores(scores_file(study, grid, cell, numbers), grid)
        if found is not None:
            scores.setdefault((cell.row, cell.steps), []).append(found)
        else:
            gaps.setdefault((cell.row, cell.steps), []).append(_gap(study, cell, numbers))
    return Comparison(grid, scores, gaps)


def _gap(study: Study[AblationSettings], cell: Cell, numbers: Mapping[Config, int]) -> str:
    number = numbers.get(cell.config)
    if number is None:
        return f"seed {cell.seed}: not scored"
    trial = study.trial(number)
    words = {Outcome.COMPLETED: "not scored", Outcome.FAILED: f"failed ({trial.reason})"}
    return f"seed {cell.seed}: trial {number:03d} {words.get(trial.outcome, 'unfinished')}"
