"""A grid's scores, read from its ablation's folder: each setting's over seeds, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmd_ddm.evaluation.metrics import OWN_SPACE
from tune.ablation.cell_scores import identity, read_scores, scores_file, trial_numbers
from tune.ablation.grid import Cell, Grid, Row
from tune.ablation.paper_tables import base_number, numbers_of
from tune.scoring.estimate import Estimate, verdicts
from tune.study.folder import COMPLETED, FAILED, Study

Place = tuple[int, int]  # row, budget
PAPER_METRICS = {
    "fid_inception": "FID_inception_50k",
    "fid_clip": "FID_CLIP",
    "is": "inception_score",
    "sfid": "sFID",
    "precision_inception": "precision",
    "recall_inception": "recall",
}
NAMES = {
    "kid": "KID",
    "fid": "FID",
    "precision": "Precision",
    "recall": "Recall",
    "is": "Inception Score",
    "sfid": "sFID",
}
_KINDS = {"precision_recall": ("precision", "recall")}  # of a measure's scores
_LARGEST = ("is", "precision", "recall")  # of which more is better


@dataclass(frozen=True)
class Comparison:
    """What is known of a grid.

    Args:
        grid: Which.
        scores: Of each row and budget, those of the seeds that have some.
        gaps: Of each row and budget, why seeds have none.
    """

    grid: Grid
    scores: Mapping[Place, tuple[dict[str, float], ...]]
    gaps: Mapping[Place, tuple[str, ...]]

    @property
    def metrics(self) -> list[str]:
        """The names of what is compared: `kid_s` and so on of each feature space s, `is`, `sfid`."""
        alone = [measure for measure in self.grid.measures if measure in OWN_SPACE]
        kinds = [kind for name in self.grid.measures if name not in alone for kind in _KINDS.get(name, (name,))]
        return [*(f"{kind}_{space}" for space in self.grid.spaces for kind in kinds), *alone]

    def estimate(self, metric: str, row: int, steps: int) -> Estimate | None:
        """Return a score over its seeds; None where no seed has one."""
        found = self.scores.get((row, steps), ())
        if not found:
            return None
        name = f"{metric}_{self.grid.images}" if kind_of(metric) in ("fid", "sfid") else metric
        errors = tuple(each[f"{name}_stderr"] for each in found if f"{name}_stderr" in each)
        return Estimate(tuple(each[name] for each in found), errors)

    def column(self, metric: str, steps: int) -> list[Estimate | None]:
        """Return the scores of all rows at a budget."""
        return [self.estimate(metric, row, steps) for row in range(len(self.grid.rows))]

    def verdicts(self, metric: str, steps: int) -> list[str]:
        """Say of each row at a budget whether it is the best, tied with it or behind."""
        return verdicts(self.column(metric, steps), largest=kind_of(metric) in _LARGEST)

    def base_row(self, row: int) -> int | None:
        """Return the base model's row with the same sampler and timesteps."""
        how = self._how(self.grid.rows[row])
        rows = (place for place, each in enumerate(self.grid.rows) if not each.finetuned and self._how(each) == how)
        return next(rows, None)

    def _how(self, row: Row) -> tuple[object, ...]:
        return tuple(
            row.settings.get(name, self.grid.config[name]) for name in ("sampler", "schedule", "eta", "variance")
        )

    def paper(self, metric: str, row: int, steps: int) -> str | None:
        """Return the paper's number, where it has one for this data set."""
        name, named = PAPER_METRICS.get(metric), self.grid.rows[row].paper
        if name is None or self.grid.table is None or not named:
            return None
        dataset = str(self.grid.config["dataset"])
        for number in numbers_of(self.grid.table, dataset):
            if number.metric == name and number.steps == steps and number.is_of(named):
                return number.value
        return None if self.grid.rows[row].finetuned else base_number(dataset, named, steps, name)


def kind_of(metric: str) -> str:
    """Return what a metric is: kid, fid, precision, recall, is or sfid."""
    return metric.partition("_")[0]


def space_of(metric: str) -> str:
    """Return the feature space of a metric; Inception Score and sFID are of Inception's layers."""
    return metric.partition("_")[2] or "inception"


def compare(study: Study, grid: Grid) -> Comparison:
    """Read what a folder holds of a grid."""
    numbers = trial_numbers(study)
    scores: dict[Place, list[dict[str, float]]] = {}
    gaps: dict[Place, list[str]] = {}
    for cell in grid.cells():
        found = read_scores(scores_file(study, grid, cell, numbers), grid)
        if found is not None:
            scores.setdefault((cell.row, cell.steps), []).append(found)
        else:
            gaps.setdefault((cell.row, cell.steps), []).append(_gap(study, cell, numbers))
    return Comparison(
        grid,
        {place: tuple(each) for place, each in scores.items()},
        {place: tuple(each) for place, each in gaps.items()},
    )


def _gap(study: Study, cell: Cell, numbers: Mapping[str, int]) -> str:
    number = numbers.get(identity(cell.config.flat()))
    if number is None:
        return f"seed {cell.seed}: not scored"
    trial = study.trial(number)
    words = {COMPLETED: "not scored", FAILED: f"failed ({trial.reason})"}
    return f"seed {cell.seed}: trial {number:03d} {words.get(trial.outcome, 'unfinished')}"
