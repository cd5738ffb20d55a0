"""All that the reports of a study tell, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass

from mmd_ddm.evaluation.metrics import Metrics
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.report.importance import Importance, importance
from tune.report.verdicts import verdicts
from tune.scoring.estimate import Estimate
from tune.scoring.final_scores import read_final_scores
from tune.scoring.finalists import final_estimates, find_winner
from tune.scoring.ranking import read_baseline
from tune.scoring.speedup import EquivalentBudget, equivalent_budget
from tune.study.folder import Study, Trial
from tune.study.settings import SearchSettings
from tune.trials.optuna_searcher import OPTUNA_FILE


@dataclass(frozen=True)
class StudySummary:
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
    """

    study: Study[SearchSettings]
    trials: list[Trial]
    baseline: Metrics
    rows: list[Scored]
    best: Trial | None
    finals: dict[int, Estimate]
    base: list[tuple[int, Estimate]]
    said: list[str]
    importance: Importance

    @property
    def budgets(self) -> bool:
        """Whether network evaluations were searched."""
        return self.study.settings.space.searches_budgets

    @property
    def first_steps(self) -> int:
        """Network evaluations of the first trial, to which all scores are relative."""
        return self.study.settings.first.sampler.steps

    @property
    def speedup(self) -> EquivalentBudget | None:
        """The base model's budget of the winner's score; None without final scores."""
        final = None if self.best is None else self.finals.get(self.best.number)
        return None if final is None or not self.base else equivalent_budget(final, self.base)


def summarise(study: Study[SearchSettings]) -> StudySummary:
    """Read a study's folder."""
    trials, rows, best = study.trials(), read_final_scores(study), find_winner(study)
    finals, base = final_estimates(study, rows)
    said = [] if best is None else verdicts(rows, best.number, tuple(best.config.objective.spaces))
    shares = importance(study.folder / OPTUNA_FILE)
    return StudySummary(study, trials, read_baseline(study), rows, best, finals, base, said, shares)
