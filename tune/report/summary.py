"""All that the reports of a study tell, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mmd_ddm.features.mixture import parse_features
from tune.report.importance import Importance, importance
from tune.report.verdicts import verdicts
from tune.scoring.estimate import Estimate
from tune.scoring.final_scores import Row, read_scores
from tune.scoring.finalists import final_estimates, find_winner
from tune.scoring.ranking import read_baseline
from tune.scoring.speedup import Match, matching_budget
from tune.space.space import searches_budgets
from tune.study.folder import Study, TrialRecord

OPTUNA_FILE = "optuna.db"


@dataclass(frozen=True)
class Found:
    """All that a report tells of a study.

    Args:
        study: Which.
        trials: All that were begun.
        baseline: The base model's scores on the noise of the trials.
        rows: The final scores.
        best: The winner, if a trial is complete.
        finals: Scores of the finalists on fresh noise, by number.
        base: The base model's on the same, by budget.
        said: Verdicts on the winner.
        importance: What the settings mattered.
        budgets: Whether network evaluations were searched.
    """

    study: Study
    trials: list[TrialRecord]
    baseline: dict[str, float]
    rows: list[Row]
    best: TrialRecord | None
    finals: dict[int, Estimate]
    base: list[tuple[int, Estimate]]
    said: list[str]
    importance: Importance
    budgets: bool

    @property
    def config(self) -> dict[str, Any]:
        """The winner's leaves."""
        return self.study.trial_config(self.best.number) if self.best is not None else {}

    @property
    def steps(self) -> int:
        """The winner's network evaluations."""
        return int(self.config["steps"])

    @property
    def match(self) -> Match | None:
        """The base model's budget of the winner's score; None without final scores."""
        final = None if self.best is None else self.finals.get(self.best.number)
        return None if final is None or not self.base else matching_budget(final, self.base)


def find(study: Study) -> Found:
    """Read a study's folder."""
    trials, rows, best = study.trials(), read_scores(study), find_winner(study)
    finals, base = final_estimates(study, rows)
    said: list[str] = []
    if best is not None:
        trained = [name for _, name in parse_features(str(study.trial_config(best.number)["features"]))]
        said = verdicts(rows, best.number, trained)
    return Found(study, trials, read_baseline(study), rows, best, finals, base, said,
                 importance(study.folder / OPTUNA_FILE), searches_budgets(study.settings.space))  # fmt: skip
