"""All that the reports of a study tell, read from its folder."""

from __future__ import annotations

from dataclasses import dataclass

from mmd_ddm.evaluation.metrics import Metrics
from mmd_ddm.evaluation.verdict import Standing
from mmd_ddm.experiment.scoring.scored_model import Scored
from tune.report.headline import headline
from tune.report.importance import Importance, importance
from tune.report.verdicts import verdicts
from tune.scoring.estimate import Estimate
from tune.scoring.final_scores import read_final_scores
from tune.scoring.finalists import final_estimates, judge
from tune.scoring.ranking import read_baseline
from tune.scoring.speedup import EquivalentBudget, equivalent_budgets
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
        standing: Whether it beats the base model; None until its final scores tell.
        finals: Scores of the finalists on fresh noise, by number.
        base: The base model's on the same, by budget.
        said: Verdicts on the winner, the headline first.
        importance: What the settings mattered.
    """

    study: Study[SearchSettings]
    trials: list[Trial]
    baseline: Metrics
    rows: list[Scored]
    best: Trial | None
    standing: Standing | None
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
    def speedup(self) -> dict[str, EquivalentBudget]:
        """The base model's budget of the winner's KID, by space; none where no held-out space tells of a gain."""
        if self.best is None or self.standing is not Standing.BEATS:
            return {}
        return equivalent_budgets(self.rows, self.best.number)


def summarise(study: Study[SearchSettings]) -> StudySummary:
    """Read a study's folder."""
    trials, rows = study.trials(), read_final_scores(study)
    best, standing = judge(study)
    finals, base = final_estimates(study, rows)
    said = [headline(best, standing)]
    if best is not None:
        said += verdicts(rows, best.number, tuple(best.config.objective.spaces))
    shares = importance(study.folder / OPTUNA_FILE)
    return StudySummary(study, trials, read_baseline(study), rows, best, standing, finals, base, said, shares)
